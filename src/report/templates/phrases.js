// Phrases that are said often: each is heard, named once in writing or aloud, and its wrong occurrences are taken out.
const STORE = "oral-units-phrases-" + content.dictionary;
let isSaved = true;
let recorder = null; // what records a meaning now
let told = readStore(); // number of a phrase -> {name, gloss, meaning: data: address, rejected: [numbers of occurrences]}

function readStore() {
  const known = content.phrases.map((phrase, number) => ({
    name: phrase.name,
    gloss: phrase.gloss,
    meaning: content.meanings[number],
    rejected: [],
  }));
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    return known.map((row, number) => ({ ...row, ...(kept && kept[number]) }));
  } catch {
    return known;
  }
}

function change() {
  isSaved = false;
  // Recordings may be too large for the store, which a browser may also lack for files: the file holds all of it.
  for (const row of [told, told.map(({ meaning, ...written }) => written)]) {
    try {
      localStorage.setItem(STORE, JSON.stringify(row));
      return;
    } catch {
      continue;
    }
  }
}

function titleOf(number) {
  return told[number].name.trim() || content.phrases[number].label;
}

function count() {
  const named = told.filter((row) => row.name.trim() || row.gloss.trim() || row.meaning).length;
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

// The meaning as somebody says it: recorded here, or a file; heard, and taken away again.
function meaningRow(number) {
  const row = element("div", { id: "meaning-" + number, className: "row", role: "group" });
  row.setAttribute("aria-label", format(labels.meaning_of, titleOf(number)));
  fillMeaning(row, number);
  return row;
}

function fillMeaning(row, number) {
  const label = content.phrases[number].label;
  const parts = [];
  if (told[number].meaning) {
    const remove = element("button", { type: "button", "aria-label": labels.remove + ", " + label }, labels.remove);
    remove.addEventListener("click", () => setMeaning(number, ""));
    parts.push(playButton(told[number].meaning, labels.meaning, labels.meaning + ", " + label), remove);
  }
  if (navigator.mediaDevices && window.MediaRecorder) {
    const record = element("button", { type: "button", className: "record", "aria-label": labels.record + ", " + label });
    record.textContent = "● " + labels.record;
    record.addEventListener("click", () => recordMeaning(number, record));
    parts.push(record);
  }
  const file = element("input", { id: "file-" + number, type: "file", accept: "audio/*,video/webm" });
  file.addEventListener("change", () => file.files[0] && readMeaning(number, file.files[0]));
  parts.push(element("label", { htmlFor: file.id }, labels.from_file + " "), file);
  row.replaceChildren(...parts);
}

function setMeaning(number, address) {
  stopPlaying();
  told[number].meaning = address;
  change();
  const row = document.getElementById("meaning-" + number);
  fillMeaning(row, number);
  row.querySelector("button, input").focus();
  say((address ? labels.recorded : labels.removed) + " " + count());
}

async function recordMeaning(number, button) {
  if (recorder) {
    recorder.stop();
    return;
  }
  stopPlaying();
  let microphone;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    say(labels.no_microphone);
    return;
  }
  const parts = [];
  recorder = new MediaRecorder(microphone);
  const atMost = setTimeout(() => recorder && recorder.stop(), 1000 * content.longest_meaning - 500);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.addEventListener("stop", () => {
    clearTimeout(atMost);
    for (const track of microphone.getTracks()) track.stop();
    const type = recorder.mimeType;
    recorder = null;
    readMeaning(number, new Blob(parts, { type }));
  });
  recorder.start();
  button.textContent = "■ " + labels.stop;
  button.setAttribute("aria-label", labels.stop);
  say(labels.recording);
}

function readMeaning(number, sound) {
  const reader = new FileReader();
  reader.addEventListener("load", () => {
    // "audio/webm;codecs=opus" and the like: what a sound is, its own bytes say.
    const address = "data:" + (sound.type || "audio/webm").split(";")[0] + ";base64," + reader.result.split(",")[1];
    const audio = new Audio();
    audio.addEventListener("loadedmetadata", () => {
      // A recording of this page does not know its length: Infinity.
      if (Number.isFinite(audio.duration) && audio.duration > content.longest_meaning) refuse(number, "too_long");
      else setMeaning(number, address);
    });
    audio.addEventListener("error", () => refuse(number, "no_sound"));
    audio.src = address;
  });
  reader.addEventListener("error", () => refuse(number, "no_sound"));
  reader.readAsDataURL(sound);
}

function refuse(number, why) {
  fillMeaning(document.getElementById("meaning-" + number), number);
  say(format(labels[why], content.longest_meaning));
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
  const said = phrase.n_speakers ? labels.counts : labels.counts_without_speakers;
  const counts = format(said, phrase.n_occurrences, phrase.n_recordings, phrase.n_speakers);
  const more = phrase.n_occurrences - shown.length;
  return element(
    "li",
    { id: "phrase-" + number, className: "phrase" },
    element("h2", { id: "title-" + number }, titleOf(number)),
    element("p", {}, counts),
    element("div", { className: "row" }, field(number, "name", labels.name), field(number, "gloss", labels.gloss)),
    meaningRow(number),
    element("ul", {}, ...shown.map((occurrence, place) => occurrenceItem(number, occurrence, place))),
    more > 0 ? element("p", {}, element("small", {}, format(labels.more, more))) : null,
  );
}

function namedPhrases() {
  return content.phrases
    .map((phrase, number) => ({
      name: told[number].name.trim(),
      gloss: told[number].gloss.trim(),
      ...(told[number].meaning ? { gloss_audio: told[number].meaning } : {}),
      occurrences: phrase.occurrences
        .map((row, place) => ({
          id: row.id,
          audio_start: row.audio_start,
          audio_end: row.audio_end,
          decision: told[number].rejected.includes(place) ? "rejected" : "accepted",
        }))
        .concat(phrase.rejected || []),
    }))
    .filter((row) => row.name || row.gloss || row.gloss_audio || row.occurrences.some((place) => place.decision === "rejected"))
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
