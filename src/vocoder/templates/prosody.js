// The prosody predictor, where this page brings one: what src/models/prosody_predictor.py computes.
// Axes: U units, F frames, C channels, K duration classes, H habits of a unit.

function encodeUnits(units, speaker) {
  const table = tensors["prosody.unit_embedding.weight"], C = tensors["prosody.norm.weight"].length;
  const people = tensors["prosody.speaker_embedding.weight"], habits = tensors["prosody.unit_habits"];
  let x = new Float32Array(units.length * C);
  units.forEach((unit, u) => {
    for (let c = 0; c < C; c++) x[u * C + c] = table[unit * C + c] + (people ? people[speaker * C + c] : 0);
  });
  if (habits) {
    const usual = linear(rowsOf(habits, units, 0, 3), tensors["prosody.habit_input.weight"], tensors["prosody.habit_input.bias"]);
    x = x.map((value, i) => value + usual[i]);
  }
  x = layerNorm(x, "prosody.norm");
  voice.prosody.unit_dilations.forEach((dilation, i) => (x = convNextBlock(x, "prosody.unit_blocks." + i, dilation)));
  return x;
}

// Columns first to last of the rows that belong to units, one after the other; the table has a row a unit
function rowsOf(table, units, first, last) {
  const width = table.length / voice.n_units, out = new Float32Array(units.length * (last - first));
  units.forEach((unit, u) => out.set(table.subarray(unit * width + first, unit * width + last), u * (last - first)));
  return out;
}

// Halves to the even number, as Python rounds
const roundEven = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

// units (U) -> frames of each (U), at least 1: of all choices of the expected total, the one of least expected error
function predictDurations(units, speaker) {
  const hidden = layerNorm(encodeUnits(units, speaker), "prosody.duration_norm");
  const logits = linear(hidden, tensors["prosody.duration_head.weight"], tensors["prosody.duration_head.bias"]);
  const prior = tensors["prosody.class_prior"], length = tensors["prosody.class_frames"], K = prior.length;
  const habits = tensors["prosody.unit_habits"], usual = habits ? rowsOf(habits, units, 3, 3 + K) : null;
  const frames = Array.from(length, (value) => Math.max(1, roundEven(value)));
  let total = 0;
  const longer = []; // one entry for each unit and each class it may be lengthened to
  for (let u = 0; u < units.length; u++) {
    const scores = Array.from(prior, (value, k) => value + logits[u * K + k] + (usual ? usual[u * K + k] : 0));
    const top = Math.max(...scores), weights = scores.map((value) => Math.exp(value - top));
    const sum = weights.reduce((a, b) => a + b);
    let below = 0, least = Infinity;
    weights.forEach((weight, k) => {
      total += (weight / sum) * length[k];
      below += weight / sum;
      least = Math.min(least, 1 - below);
      if (k < K - 1) longer.push({ u, k, chance: least });
    });
  }
  longer.sort((a, b) => b.chance - a.chance); // keeps the order of equals
  const chosen = new Array(units.length).fill(0);
  let left = roundEven(total) - frames[0] * units.length;
  for (const { u, k } of longer) {
    left -= frames[k + 1] - frames[k];
    if (left < 0) break;
    chosen[u] += 1;
  }
  return chosen.map((k) => frames[k]);
}

// units (U) lasting durations (U) frames -> F0 (F) Hz, 0 = unvoiced
function predictPitch(units, durations, speaker) {
  const hidden = encodeUnits(units, speaker), C = tensors["prosody.norm.weight"].length;
  const habits = tensors["prosody.unit_habits"], usual = habits ? rowsOf(habits, units, 0, 2) : null;
  const F = durations.reduce((a, b) => a + b, 0), width = habits ? 5 : 3;
  const places = new Float32Array(F * width), unitOf = new Int32Array(F);
  let frame = 0;
  durations.forEach((length, u) => {
    for (let passed = 0; passed < length; passed++, frame++) {
      unitOf[frame] = u;
      places.set([(passed + 0.5) / length, Math.log(length), Math.log1p(passed)], frame * width);
      if (usual) places.set(usual.subarray(2 * u, 2 * u + 2), frame * width + 3);
    }
  });
  let x = linear(places, tensors["prosody.position.weight"], tensors["prosody.position.bias"]);
  x = x.map((value, i) => value + hidden[unitOf[Math.floor(i / C)] * C + (i % C)]);
  voice.prosody.frame_dilations.forEach((dilation, i) => (x = convNextBlock(x, "prosody.frame_blocks." + i, dilation)));
  const heads = linear(layerNorm(x, "prosody.frame_norm"), tensors["prosody.frame_head.weight"], tensors["prosody.frame_head.bias"]);
  const [mean, deviation] = voice.prosody.statistics[speaker], [lowest, highest] = voice.prosody.f0_range_hz;
  return Float32Array.from(unitOf, (u, t) => {
    const voicing = heads[2 * t] + (usual ? usual[2 * u] : 0), height = heads[2 * t + 1] + (usual ? usual[2 * u + 1] : 0);
    return voicing > 0 ? Math.min(highest, Math.max(lowest, Math.exp(mean + deviation * height))) : 0;
  });
}
