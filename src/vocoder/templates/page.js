// The page itself: what is typed, what is heard.

const field = (name) => document.getElementById(name);

// "12:4 45 7:2" -> units and their frames, null where none is given
function readUnits(text) {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  if (!words.length) throw new Error("Write some units first, for example 12:4 45:3 7.");
  const units = [], durations = [];
  for (const word of words) {
    const match = /^(\d+)(?::(\d+))?$/.exec(word);
    if (!match) throw new Error(`“${word}” is not a unit. Write a number, or a number and its frames as in 12:4.`);
    const unit = Number(match[1]), frames = match[2] === undefined ? null : Number(match[2]);
    if (unit >= voice.n_units) throw new Error(`This voice has no unit ${unit}. It knows 0 to ${voice.n_units - 1}.`);
    if (frames === 0) throw new Error(`“${word}”: a unit lasts at least 1 frame.`);
    units.push(unit);
    durations.push(frames);
  }
  return { units, durations };
}

// Neighbours that are the same unit are one longer unit, as the predictor has learned
function joinRepeats({ units, durations }) {
  const joined = { units: [], durations: [] };
  units.forEach((unit, i) => {
    const last = joined.units.length - 1;
    if (last < 0 || joined.units[last] !== unit || durations[i] === null || joined.durations[last] === null) {
      joined.units.push(unit);
      joined.durations.push(durations[i]);
    } else joined.durations[last] += durations[i];
  });
  return joined;
}

// Whether the field holds the recording's units as they were, and its own melody is wanted
const hasRecordedMelody = () => voice.example && voice.example.f0.length > 0 && field("units").value.trim() === voice.example.units;
const isAsRecorded = () => hasRecordedMelody() && field("recorded").checked;

// What is in the fields -> frame by frame: units (F) and F0 (F) Hz
function readFields() {
  const row = Number(field("speaker").value), melody = voice.prosody && field("melody").checked;
  const { units, durations } = joinRepeats(readUnits(field("units").value));
  const person = voice.prosody ? voice.prosody.speakers.indexOf(voice.speakers[row - 1]) + 1 : 0;
  const guessed = durations.includes(null) && voice.prosody ? predictDurations(units, person) : null;
  const lengths = durations.map((frames, i) => frames ?? (guessed ? guessed[i] : Number(field("length").value)));
  const F = lengths.reduce((a, b) => a + b, 0);
  if (F > 6000) throw new Error("That is longer than two minutes. Speak it in parts.");
  const scale = Number(field("scale").value);
  let f0;
  if (isAsRecorded()) f0 = Float32Array.from(voice.example.f0, (hertz) => hertz * scale);
  else f0 = melody ? predictPitch(units, lengths, person).map((hertz) => hertz * scale) : glide(F);
  return { frames: units.flatMap((unit, i) => new Array(lengths[i]).fill(unit)), f0, row };
}

// A voice that falls a little, as a statement does: from the slider's pitch to 85 % of it
function glide(F) {
  const pitch = Number(field("pitch").value), fall = Number(field("fall").value);
  return Float32Array.from({ length: F }, (_, t) => pitch * (1 - (fall * t) / Math.max(1, F - 1)));
}

function say() {
  try {
    const { frames, f0, row } = readFields(), started = performance.now();
    const address = wavAddress(speak(frames, f0, row)), seconds = frames.length / 50;
    field("player").src = field("download").href = address;
    field("heard").hidden = false;
    const took = (performance.now() - started) / 1000;
    field("message").textContent = `${seconds.toFixed(2)} s of speech, made in ${took.toFixed(2)} s.`;
    field("player").play().catch(() => {}); // a browser may want a click first
  } catch (error) {
    field("message").textContent = error.message;
    field("heard").hidden = true;
  }
}

function show() {
  for (const name of ["pitch", "fall", "scale", "length"]) {
    const input = field(name), unit = { pitch: " Hz", fall: " %", scale: " ×", length: " frames" }[name];
    field(name + "-shown").textContent = (name === "fall" ? Math.round(100 * input.value) : input.value) + unit;
  }
  const melody = voice.prosody && field("melody").checked;
  if (field("as-recorded")) field("as-recorded").hidden = !hasRecordedMelody();
  if (field("own-melody")) field("own-melody").hidden = isAsRecorded();
  field("flat").hidden = melody || isAsRecorded();
  field("height").hidden = !melody && !isAsRecorded();
}

// Links such as voice.html#units=12:4,45:3&pitch=140 fill the fields and speak
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of ["units", "pitch", "fall", "scale", "length", "speaker"]) {
    if (wanted.has(name)) field(name).value = wanted.get(name);
  }
  if (wanted.has("melody")) field("melody").checked = wanted.get("melody") !== "0";
  if (!wanted.has("units") && !wanted.has("speaker") && voice.example) field("speaker").value = voice.example.speaker_row;
  show();
  if (wanted.has("units")) say();
}

voice.speakers.forEach((name, i) => field("speaker").add(new Option(name, i + 1)));
field("people").hidden = !voice.speakers.length;
field("with-prosody").hidden = !voice.prosody;
field("without-prosody").hidden = Boolean(voice.prosody);
field("controls").addEventListener("input", show);
field("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  field("message").textContent = "Speaking …";
  setTimeout(say, 20); // so that the words above are seen first
});
readAddress();
