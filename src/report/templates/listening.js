"use strict";
// A listening test without a server: who listens, one question a screen, and the answers as a file.
// The order is a function of the test and of the listener's name, so that a page opened again goes on as before.
const content = JSON.parse(document.getElementById("content").textContent);
const labels = content.labels;
const screen_ = document.getElementById("screen");
const STORE = "oral-units-" + content.test;
const SAME = "same";
const LETTERS = ["A", "B", "X"];
let session = null; // {listener, started, finished, plan, answers, place}
let playing = null; // {audio, button, stop}

// Numbers in [0, 1) from a text: FNV-1a, then mulberry32.
function makeRandom(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffle(items, random) {
  const mixed = items.slice();
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
  }
  return mixed;
}

// One trial of each group; which one goes round, so that a listener hears every system equally often.
function takeFromGroups(trials, random) {
  const groups = new Map();
  for (const trial of trials) groups.set(trial.group, [...(groups.get(trial.group) || []), trial]);
  const first = Math.floor(random() * trials.length);
  return [...groups.values()].map((group, number) => group[(first + number) % group.length]);
}

// As many trials with the first clip on the left as with the second; X stays where it is.
function showSides(trials, random) {
  const swapped = shuffle(trials.map((_, number) => number % 2 === 1), random);
  return trials.map((trial, number) => {
    const [first, second, ...rest] = trial.clips;
    const shown = second && swapped[number] ? [second, first, ...rest] : trial.clips.slice();
    return { trial: trial.id, shown, repeat: false };
  });
}

// Kind after kind; some trials come again at the end of their kind, with their sides changed.
function makePlan(listener) {
  const random = makeRandom(content.test + "/" + listener);
  const plan = [];
  for (const kind of content.kinds) {
    const chosen = takeFromGroups(content.trials.filter((trial) => trial.kind === kind), random);
    const asked = showSides(shuffle(chosen, random), random);
    const nRepeats = kind === "words" ? 0 : Math.min(content.repeats, Math.floor(asked.length / 2));
    const again = asked.slice(0, nRepeats).map((entry) => {
      const [first, second, ...rest] = entry.shown;
      return { trial: entry.trial, shown: second ? [second, first, ...rest] : entry.shown.slice(), repeat: true };
    });
    plan.push(...asked, ...shuffle(again, random));
  }
  return plan;
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

function format(text, ...values) {
  return text.replace(/\{(\d)\}/g, (_, place) => values[place]);
}

function show(...children) {
  stopPlaying();
  screen_.replaceChildren(...children.filter(Boolean));
  const heading = screen_.querySelector("h1");
  heading.tabIndex = -1;
  heading.focus();
  window.scrollTo(0, 0);
}

function stopPlaying() {
  if (playing) playing.stop();
  playing = null;
}

// A button that plays a clip, or stops it; onEnd is called when it was heard to its end.
function playButton(clip, label, onEnd = () => {}) {
  const button = element("button", { type: "button", "aria-pressed": "false" });
  const write = (isOn) => {
    button.textContent = (isOn ? "■ " + labels.stop : "▶ " + labels.play) + " " + label;
    button.setAttribute("aria-pressed", String(isOn));
  };
  write(false);
  button.addEventListener("click", () => {
    const wasOn = playing && playing.button === button;
    stopPlaying();
    if (wasOn) return;
    const audio = new Audio(content.clips[clip]);
    const stop = () => {
      audio.pause();
      write(false);
    };
    playing = { audio, button, stop };
    audio.addEventListener("ended", () => {
      if (playing && playing.audio === audio) playing = null;
      write(false);
      button.classList.add("played");
      onEnd();
    });
    write(true);
    audio.play();
  });
  return button;
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify({ ...session, plan: undefined }));
  } catch {
    // A browser that keeps nothing for files: the answers are saved at the end all the same.
  }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE));
    return found && found.listener && Array.isArray(found.answers) && !found.finished ? found : null;
  } catch {
    return null;
  }
}

function welcome() {
  const name = element("input", { type: "text", id: "name", autocomplete: "off", required: true, maxLength: 40 });
  name.setAttribute("aria-describedby", "name-hint");
  const form = element(
    "form",
    {},
    element("p", {}, element("label", { htmlFor: "name" }, labels.name), name),
    element("p", { id: "name-hint" }, element("small", {}, labels.name_hint)),
    element("p", {}, element("button", { type: "submit", className: "main" }, labels.start)),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin({ listener: name.value.trim() || "1", started: new Date().toISOString(), finished: null, answers: [], place: 0 });
  });
  const before = kept();
  const again = before && element("button", { type: "button", className: "main" }, labels.go_on + ": " + before.listener);
  if (again) again.addEventListener("click", () => begin(before));
  const spoken = content.clips.instructions ? playButton("instructions", labels.hear_instructions) : null;
  show(
    element("h1", {}, content.title),
    spoken && element("div", { className: "plays" }, spoken),
    ...content.instructions.map((text) => element("p", {}, text)),
    again && element("p", {}, again),
    form,
  );
}

function begin(found) {
  session = { ...found, plan: makePlan(found.listener) };
  ask();
}

function choicesOf(trial, shown) {
  if (trial.kind === "mos") return labels.grades.map((text) => ({ value: text.slice(0, 1), text }));
  if (trial.kind === "words")
    return trial.choices.map((choice, number) => ({ value: choice.id, ...choice, label: format(labels.choice, number + 1) }));
  const sides = shown.slice(0, 2).map((clip, number) => ({ value: clip, text: LETTERS[number] }));
  return trial.kind === "preference" ? [...sides, { value: SAME, text: labels.same }] : sides;
}

function choiceLine(choice) {
  const input = element("input", { type: "radio", name: "answer", value: choice.value, required: true });
  const line = element("label", {}, input);
  if (choice.picture) line.append(element("img", { src: choice.picture, alt: choice.label }));
  else line.append(choice.text || choice.label);
  return choice.clip ? element("div", { className: "row" }, line, playButton(choice.clip, choice.label)) : line;
}

// One question: everything is heard to its end before the first answer is taken.
function ask() {
  const entry = session.plan[session.place];
  if (!entry) return finish();
  const trial = content.trials.find((found) => found.id === entry.trial);
  const before = session.answers[session.place];
  const plays = entry.shown.map((_, number) => (before ? before.plays[number] : 0));
  const status = element("p", { role: "status" }, labels.hear_all);
  const answers = element("fieldset", { disabled: true }, element("legend", {}, labels[trial.kind]));
  const next = element("button", { type: "submit", className: "main", disabled: true }, labels.next);
  let heardAt = 0;
  const allow = () => {
    if (!heardAt && plays.every(Boolean)) {
      heardAt = performance.now();
      answers.disabled = false;
      status.textContent = labels.answer_now;
    }
  };
  const buttons = entry.shown.map((clip, number) => {
    const label = entry.shown.length > 1 ? LETTERS[number] : labels.sound;
    return playButton(clip, label, () => {
      plays[number]++;
      allow();
    });
  });
  answers.append(...choicesOf(trial, entry.shown).map(choiceLine));
  answers.addEventListener("change", () => (next.disabled = false));
  const back = element("button", { type: "button", disabled: session.place === 0 }, labels.back);
  back.addEventListener("click", () => {
    session.place--;
    ask();
  });
  const form = element("form", {}, answers, element("div", { className: "row" }, next, back));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = form.querySelector("input[name=answer]:checked");
    if (!chosen || answers.disabled) return;
    const seconds = Math.round(performance.now() - heardAt) / 1000;
    session.answers[session.place] = { ...entry, answer: chosen.value, seconds, plays: plays.slice() };
    session.place++;
    keep();
    ask();
  });
  const said = format(labels.progress, session.place + 1, session.plan.length);
  show(
    element("h1", {}, said),
    element("progress", { value: session.place, max: session.plan.length, "aria-label": said }),
    element("div", { className: "plays" }, ...buttons),
    status,
    form,
    element("p", {}, element("small", {}, labels.keys)),
  );
  if (before) {
    allow();
    const chosen = [...answers.querySelectorAll("input")].find((input) => input.value === before.answer);
    chosen.checked = true;
    next.disabled = false;
  }
}

function finish() {
  session.finished = session.finished || new Date().toISOString();
  keep();
  const saved = {
    format: content.answers_format,
    format_version: content.format_version,
    test: content.test,
    listener: session.listener,
    started: session.started,
    finished: session.finished,
    answers: session.answers,
  };
  const text = JSON.stringify(saved);
  const plain = session.listener.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "listener";
  const name = "answers_" + content.test + "_" + plain + ".json";
  const file = new File([text], name, { type: "application/json" });
  const said = element("p", { role: "status" });
  const save = element("a", { className: "button", download: name, href: URL.createObjectURL(file) }, labels.save);
  save.addEventListener("click", () => (said.textContent = format(labels.saved, name)));
  const canShare = navigator.canShare && navigator.canShare({ files: [file] });
  const share = canShare ? element("button", { type: "button" }, labels.share) : null;
  if (share) share.addEventListener("click", () => navigator.share({ files: [file] }).catch(() => {}));
  const address = "mailto:" + encodeURIComponent(content.email) + "?subject=" + encodeURIComponent(name);
  const email = element("a", { className: "button", href: address + "&body=" + encodeURIComponent(text) }, labels.email);
  const copy = element("textarea", { readOnly: true, id: "answers", value: text });
  copy.addEventListener("focus", () => copy.select());
  show(
    element("h1", {}, labels.done),
    element("p", {}, labels.done_hint),
    element("div", { className: "row" }, save, share, content.email ? email : null),
    said,
    element("p", {}, element("label", { htmlFor: "answers" }, labels.copy), copy),
  );
}

// 1, 2, 3 play; in a group of answers the arrows and digits stay the browser's own.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], textarea")) return;
  const button = screen_.querySelectorAll(".plays button")[Number(event.key) - 1];
  if (button) button.click();
});

welcome();
