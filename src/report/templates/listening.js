"use strict";
// A listening test without a server: who listens, one question a screen, and the answers as a file.
// The order is a function of the test and of the session's id, so that a page opened again goes on as before.
const content = JSON.parse(document.getElementById("content").textContent);
const labels = content.labels;
const screen_ = document.getElementById("screen");
const STORE = "oral-units-" + content.test;
const SAME = "same";
const LETTERS = ["A", "B", "X"];
const DOUBLE_CLICK = 400; // milliseconds
let session = null; // {id, listener, started, finished, isSaved, answers, place, plan}
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
  const odd = random() < 0.5 ? 1 : 0; // which side has one more
  const swapped = shuffle(trials.map((_, number) => number % 2 === odd), random);
  return trials.map((trial, number) => {
    const [first, second, ...rest] = trial.clips;
    const shown = second && swapped[number] ? [second, first, ...rest] : trial.clips.slice();
    return { trial: trial.id, shown, repeat: false };
  });
}

// Kind after kind; some trials come again at the end of their kind, with their sides changed.
function makePlan(id) {
  const random = makeRandom(content.test + "/" + id);
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

// A button that plays a clip, or stops it; onEnd is called when it was heard to its end, onFail when it cannot be.
function playButton(clip, label, onEnd = () => {}, onFail = () => {}) {
  const button = element("button", { type: "button", "aria-pressed": "false" });
  const write = (isOn) => {
    button.textContent = (isOn ? "■ " + labels.stop : "▶ " + labels.play) + " " + label;
    button.setAttribute("aria-pressed", String(isOn));
  };
  let clicked = -DOUBLE_CLICK;
  write(false);
  button.addEventListener("click", () => {
    if (performance.now() - clicked < DOUBLE_CLICK) return;
    clicked = performance.now();
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
    const fail = () => {
      if (!playing || playing.audio !== audio) return;
      stopPlaying();
      onFail();
    };
    audio.addEventListener("error", fail);
    write(true);
    audio.play().catch((error) => error.name !== "AbortError" && fail());
  });
  return button;
}

// Sessions of all listeners of this device, by id: each tab writes its own and leaves the others alone.
function readStore() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) || {};
  } catch {
    return {};
  }
}

function keep() {
  try {
    const { plan, ...kept } = session;
    localStorage.setItem(STORE, JSON.stringify({ ...readStore(), [session.id]: kept }));
  } catch {
    // A browser that keeps nothing for files: the answers are saved at the end all the same.
  }
}

function makeId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function welcome() {
  session = null;
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
    const listener = name.value.trim().normalize("NFC");
    if (listener)
      begin({ id: makeId(), listener, started: new Date().toISOString(), finished: null, isSaved: false, answers: [], place: 0 });
    else name.value = "";
  });
  const waiting = Object.values(readStore()).filter((found) => found && found.listener && !found.isSaved);
  const again = waiting.map((found) => {
    const button = element("button", { type: "button", className: "main" }, labels.go_on + ": " + found.listener);
    button.addEventListener("click", () => begin(found));
    return element("p", {}, button);
  });
  show(element("h1", {}, content.title), instructionsButton(), ...content.instructions.map((text) => element("p", {}, text)), ...again, form);
}

function instructionsButton() {
  if (!content.clips.instructions) return null;
  return element("div", { className: "row" }, playButton("instructions", labels.hear_instructions));
}

function begin(found) {
  session = { ...found, plan: makePlan(found.id) };
  ask();
}

function choicesOf(trial, shown) {
  if (trial.kind === "mos") return labels.grades.map((text, place) => ({ value: String(5 - place), text }));
  if (trial.kind === "words")
    return trial.choices.map((choice, number) => ({ value: choice.id, ...choice, label: format(labels.choice, number + 1) }));
  const sides = shown.slice(0, 2).map((clip, number) => ({ value: clip, text: LETTERS[number] }));
  return trial.kind === "preference" ? [...sides, { value: SAME, text: labels.same }] : sides;
}

function choiceLine(choice, makeButton) {
  const input = element("input", { type: "radio", name: "answer", value: choice.value, required: true });
  const line = element("label", {}, input);
  if (choice.picture) line.append(element("img", { src: choice.picture, alt: choice.label }));
  else line.append(element("span", {}, choice.text || choice.label));
  return choice.clip ? element("div", { className: "row" }, line, makeButton(choice.clip, choice.label)) : line;
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
  const unheard = new Set();
  let heardAt = 0;
  const allow = () => {
    heardAt = performance.now();
    answers.disabled = false;
    status.textContent = labels.answer_now;
  };
  // A sound that cannot be played holds nobody up; the answers say that it was never heard.
  const makeButton = (clip, label, count = () => {}) => {
    const heard = () => {
      unheard.delete(clip);
      if (!heardAt && !unheard.size) allow();
    };
    unheard.add(clip);
    return playButton(
      clip,
      label,
      () => {
        count();
        heard();
      },
      () => {
        heard();
        status.textContent = labels.broken;
      },
    );
  };
  const buttons = entry.shown.map((clip, number) => {
    const label = entry.shown.length > 1 ? LETTERS[number] : labels.sound;
    return makeButton(clip, label, () => plays[number]++);
  });
  answers.append(...choicesOf(trial, entry.shown).map((choice) => choiceLine(choice, makeButton)));
  answers.addEventListener("change", () => (next.disabled = false));
  const back = element("button", { type: "button", disabled: session.place === 0 }, labels.back);
  back.addEventListener("click", () => {
    session.place--;
    ask();
  });
  const pause = element("button", { type: "button" }, labels.pause);
  pause.addEventListener("click", finish);
  const form = element("form", {}, answers, element("div", { className: "row" }, next, back, pause));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = form.querySelector("input[name=answer]:checked");
    if (!chosen || answers.disabled) return;
    const seconds = before ? before.seconds : Math.round(performance.now() - heardAt) / 1000;
    session.answers[session.place] = { ...entry, answer: chosen.value, seconds, plays: plays.slice() };
    session.place++;
    session.isSaved = false;
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
    instructionsButton(),
  );
  if (before) {
    allow();
    const chosen = [...answers.querySelectorAll("input")].find((input) => input.value === before.answer);
    chosen.checked = true;
    next.disabled = false;
  }
}

// The answers as a file, finished or not; who has stopped may go on.
function finish() {
  const isWhole = session.answers.length === session.plan.length;
  session.finished = isWhole ? session.finished || new Date().toISOString() : null;
  keep();
  const saved = {
    format: content.answers_format,
    format_version: content.format_version,
    test: content.test,
    listener: session.listener,
    listener_id: session.id,
    started: session.started,
    finished: session.finished,
    answers: session.answers,
  };
  const text = JSON.stringify(saved);
  const plain = session.listener.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || "listener";
  const name = "answers_" + content.test + "_" + plain + "_" + session.id + ".json";
  const file = new File([text], name, { type: "application/json" });
  const said = element("p", { role: "status" });
  const note = (line) => {
    session.isSaved = true;
    keep();
    said.textContent = line;
  };
  const save = element("a", { className: "button", download: name, href: URL.createObjectURL(file) }, labels.save);
  save.addEventListener("click", () => note(format(labels.saved, name)));
  const canShare = navigator.canShare && navigator.canShare({ files: [file] });
  const share = canShare ? element("button", { type: "button" }, labels.share) : null;
  if (share) share.addEventListener("click", () => navigator.share({ files: [file] }).then(() => note("")).catch(() => {}));
  const address = "mailto:" + encodeURIComponent(content.email) + "?subject=" + encodeURIComponent(name);
  const body = "&body=" + encodeURIComponent(format(labels.attach, name));
  const email = content.email ? element("a", { className: "button", href: address + body }, labels.email) : null;
  const copy = element("textarea", { readOnly: true, id: "answers", value: text });
  copy.addEventListener("focus", () => copy.select());
  const onward = element("button", { type: "button" }, isWhole ? labels.next_listener : labels.go_on);
  onward.addEventListener("click", isWhole ? welcome : ask);
  show(
    element("h1", {}, labels.done),
    element("p", {}, labels.done_hint),
    element("div", { className: "row" }, save, share, email, onward),
    said,
    element("p", {}, element("label", { htmlFor: "answers" }, labels.copy), copy),
  );
}

// 1, 2, 3 play; in a group of answers the arrows and digits stay the browser's own.
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], textarea")) return;
  const button = screen_.querySelectorAll(".plays button")[Number(event.key) - 1];
  if (button) button.click();
});

welcome();
