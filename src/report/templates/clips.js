"use strict";
// What the pages with clips share: elements, one sound at a time, the line of status, a file among the downloads.
const content = JSON.parse(document.getElementById("content").textContent);
const labels = content.labels;
const screen_ = document.getElementById("screen");
let playing = null; // {audio, stop}

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

function stopPlaying() {
  if (playing) playing.stop();
  playing = null;
}

// A button that plays a sound, or stops it; its text never changes its name for who cannot see it.
function playButton(clip, label, name) {
  const button = element("button", { type: "button", "aria-pressed": "false", "aria-label": name });
  const write = (isOn) => {
    button.textContent = (isOn ? "■ " : "▶ ") + label;
    button.setAttribute("aria-pressed", String(isOn));
  };
  write(false);
  button.addEventListener("click", () => {
    const wasOn = playing && playing.button === button;
    stopPlaying();
    if (wasOn) return;
    const audio = new Audio(clip);
    const stop = () => {
      audio.pause();
      write(false);
    };
    playing = { audio, button, stop };
    const end = () => {
      if (playing && playing.audio === audio) stopPlaying();
    };
    audio.addEventListener("ended", end);
    audio.addEventListener("error", () => {
      end();
      say(labels.broken);
    });
    write(true);
    audio.play().catch(end);
  });
  return button;
}

function say(text) {
  document.getElementById("status").textContent = text;
}

function saveFile(name, saved) {
  const file = new File([JSON.stringify(saved, null, 1)], name, { type: "application/json" });
  const link = element("a", { download: name, href: URL.createObjectURL(file) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

