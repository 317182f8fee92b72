// Phrases that are said often: each is heard, named once, and its wrong occurrences are taken out; saved as a file.
const STORE = "oral-units-phrases-" + content.dictionary;
let isSaved = true;
let told = readStore(); // number of a phrase -> {name, gloss, rejected: [numbers of occurrences]}

function readStore() {
  const known = content.phrases.map((phrase) => ({ name: phrase.name, gloss: phrase.gloss, rejected: [] }));
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    return known.map((row, number) => ({ ...row, ...(kept && kept[number]) }));
  } catch {
    return known;
  }
}

function change() {
  isSaved = false;
  try {
    localStorage.setItem(STORE, JSON.stringify(told));
  } catch {
    // A browser that keeps nothing for files: the names are saved as a file all the same.
  }
}

function titleOf(number) {
  return told[number].name.trim() || content.phrases[number].label;
}

function count() {
  const named = told.filter((row) => row.name.trim()).length;
  const rejected = told.reduce((sum, row) => sum + row.rejected.length, 0);
  return format(labels.count, named, told.length, rejected);
}

function field(number, key, label) {
  const id = key + "-" + number;
  const input = element("input", { id, type: "text", value: told[number][key], autocomplete: "off" });
  input.addEventListener("input", () => {
    told[number][key] = input.value;
    change();
  });
  input.addEventListener("change", () => {
    document.getElementById("title-" + number).textContent = titleOf(number);
    say(count());
  });
  return element("p", { className: "field" }, element("label", { htmlFor: id }, label), input);
}

function reject(number, place, isRejected) {
  const others = told[number].rejected.filter((one) => one !== place);
  told[number].rejected = isRejected ? [...others, place] : others;
  change();
  showOccurrence(number, place);
  say(count());
}

function showOccurrence(number, place) {
  const isRejected = told[number].rejected.includes(place);
  const item = document.getElementById("said-" + number + "-" + place);
  item.className = isRejected ? "said rejected" : "said";
  item.querySelector("input").checked = isRejected;
}

function occurrenceItem(number, occurrence, place) {
  const name = format(labels.occurrence, place + 1, content.phrases[number].label);
  const where = format(labels.place, occurrence.source, occurrence.start.toFixed(2), occurrence.end.toFixed(2));
  const box = element("input", { type: "checkbox", "aria-label": name + ": " + labels.wrong });
  box.addEventListener("change", () => reject(number, place, box.checked));
  const item = element(
    "li",
    { id: "said-" + number + "-" + place, className: "said" },
    playButton(content.clips[number][place], String(place + 1), name),
    element("span", {}, where + (occurrence.speaker ? ", " + occurrence.speaker : "")),
    element("label", {}, box, element("span", {}, labels.wrong)),
  );
  // Letters act on an occurrence only, never where something is written.
  item.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    if (key === "l") item.querySelector("button").click();
    else if (key === "x") reject(number, place, !told[number].rejected.includes(place));
    else if (key === "n" || key === "p") goTo(number + (key === "n" ? 1 : -1));
  });
  return item;
}

function goTo(number) {
  const item = document.getElementById("phrase-" + number);
  if (item) item.querySelector("button").focus();
}

function phraseItem(phrase, number) {
  const shown = phrase.occurrences.slice(0, content.clips[number].length);
  const counts = format(labels.counts, phrase.n_occurrences, phrase.n_recordings, phrase.n_speakers);
  const more = phrase.n_occurrences - shown.length;
  return element(
    "li",
    { id: "phrase-" + number, className: "phrase" },
    element("h2", { id: "title-" + number }, titleOf(number)),
    element("p", {}, counts),
    element("div", { className: "row" }, field(number, "name", labels.name), field(number, "gloss", labels.gloss)),
    element("ul", {}, ...shown.map((occurrence, place) => occurrenceItem(number, occurrence, place))),
    more > 0 ? element("p", {}, element("small", {}, format(labels.more, more))) : null,
  );
}

function namedPhrases() {
  return content.phrases
    .map((phrase, number) => ({
      name: told[number].name.trim(),
      gloss: told[number].gloss.trim(),
      occurrences: phrase.occurrences
        .map((row, place) => ({
          id: row.id,
          audio_start: row.audio_start,
          audio_end: row.audio_end,
          decision: told[number].rejected.includes(place) ? "rejected" : "accepted",
        }))
        .concat(phrase.rejected || []),
    }))
    .filter((row) => row.name || row.gloss || row.occurrences.some((place) => place.decision === "rejected"))
    .concat(content.earlier);
}

function save() {
  const saved = {
    format: content.names_format,
    format_version: content.format_version,
    language: content.language,
    phrases: namedPhrases(),
  };
  const name = "names_" + content.language + "_" + content.dictionary + ".json";
  saveFile(name, saved);
  isSaved = true;
  say(format(labels.saved, name));
}

function begin() {
  const saveButton = element("button", { type: "button" }, labels.save);
  saveButton.addEventListener("click", save);
  screen_.replaceChildren(
    element("h1", {}, content.title),
    element("p", {}, format(labels.summary, content.phrases.length, content.n_phrases, content.hours)),
    element("p", {}, labels.hint),
    element("p", {}, element("small", {}, labels.keys)),
    element("ol", {}, ...content.phrases.map(phraseItem)),
  );
  const status = element("p", { role: "status", id: "status" });
  const bar = element("div", { className: "row" }, status, saveButton);
  document.body.append(element("footer", { className: "bar" }, bar));
  told.forEach((row, number) => row.rejected.forEach((place) => showOccurrence(number, place)));
  say(count());
}

window.addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

begin();
