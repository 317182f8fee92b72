// Hits of a spoken search: each is heard, accepted or rejected; what was decided is saved as a file.
const STORE = "oral-units-search-" + content.search;
const DECISIONS = ["accepted", "rejected", ""];
let isSaved = true;
let decisions = readStore(); // number of a hit -> decision

function readStore() {
  const known = Object.fromEntries(content.hits.map((hit, number) => [number, hit.decision || ""]));
  try {
    return { ...known, ...JSON.parse(localStorage.getItem(STORE)) };
  } catch {
    return known;
  }
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify(decisions));
  } catch {
    // A browser that keeps nothing for files: the decisions are saved as a file all the same.
  }
}

function count() {
  const all = Object.values(decisions);
  const [right, wrong] = ["accepted", "rejected"].map((one) => all.filter((decision) => decision === one).length);
  return format(labels.count, right, wrong, all.length - right - wrong);
}

function decide(number, decision) {
  decisions[number] = decision;
  isSaved = false;
  keep();
  show(number);
  say(count());
}

function show(number) {
  const item = document.getElementById("hit-" + number);
  item.className = "hit " + decisions[number];
  for (const input of item.querySelectorAll("input")) input.checked = input.value === decisions[number];
}

function hitItem(hit, number) {
  const name = format(labels.hit, hit.rank);
  const place = format(labels.place, hit.source, hit.start.toFixed(2), hit.end.toFixed(2));
  const likely = format(labels.likely, Math.min(99, Math.round(100 * hit.probability)));
  const choices = DECISIONS.map((decision) => {
    const input = element("input", { type: "radio", name: "hit-" + number, value: decision });
    input.addEventListener("change", () => decide(number, decision));
    return element("label", {}, input, element("span", {}, labels[decision || "undecided"]));
  });
  const item = element(
    "li",
    { id: "hit-" + number, className: "hit" },
    element("h2", {}, name + ": " + likely),
    element("p", {}, place + (hit.speaker ? ", " + hit.speaker : "")),
    hit.text ? element("p", { className: "text" }, hit.text) : null,
    element(
      "div",
      { className: "row" },
      playButton(content.clips[number].word, labels.play, name + ", " + labels.play),
      playButton(content.clips[number].around, labels.around, name + ", " + labels.around),
      element("fieldset", {}, element("legend", {}, format(labels.decision, hit.rank)), ...choices),
    ),
  );
  // Letters act where the focus is inside a hit, so that they are never in the way of a screen reader's own.
  item.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = { a: "accepted", r: "rejected", u: "" };
    const key = event.key.toLowerCase();
    if (key in keys) decide(number, keys[key]);
    else if (key === "l") item.querySelectorAll("button")[0].click();
    else if (key === "c") item.querySelectorAll("button")[1].click();
    else if (key === "n" || key === "p") goTo(number + (key === "n" ? 1 : -1));
  });
  return item;
}

function goTo(number) {
  const item = document.getElementById("hit-" + number);
  if (item) item.querySelector("button").focus();
}

function decided() {
  return content.hits
    .map((hit, number) => ({ id: hit.id, audio_start: hit.audio_start, audio_end: hit.audio_end, decision: decisions[number] }))
    .filter((row) => row.decision)
    .concat(content.earlier);
}

function save() {
  const saved = {
    format: content.decisions_format,
    format_version: content.format_version,
    language: content.language,
    word: content.word,
    decisions: decided(),
  };
  const plain = content.word.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  const name = "decisions" + (plain ? "_" + plain : "") + "_" + content.search + ".json";
  saveFile(name, saved);
  isSaved = true;
  say(format(labels.saved, name));
}

function begin() {
  const queries = content.queries.map((clip, number) => {
    const name = format(labels.query, number + 1);
    return playButton(clip, name, name);
  });
  const saveButton = element("button", { type: "button" }, labels.save);
  saveButton.addEventListener("click", save);
  screen_.replaceChildren(
    element("h1", {}, content.title),
    element("p", {}, format(labels.summary, content.hits.length, content.hours)),
    element("p", {}, labels.hint),
    queries.length ? element("div", { className: "row" }, ...queries) : "",
    element("p", {}, element("small", {}, labels.keys)),
    element("ol", {}, ...content.hits.map(hitItem)),
  );
  const status = element("p", { role: "status", id: "status" });
  const bar = element("div", { className: "row" }, status, saveButton);
  document.body.append(element("footer", { className: "bar" }, bar));
  content.hits.forEach((_, number) => show(number));
  say(count());
}

window.addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

begin();
