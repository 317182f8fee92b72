"use strict";
// A V4 voice in plain JavaScript: what src/models/generator_v4.py computes, from the weights that lie in this page.
// Axes: F unit frames (50 Hz), T = 2 F filter frames, C channels, K bins, S = 320 F samples. Arrays are flat, row by row.

const voice = JSON.parse(document.getElementById("voice").textContent);
const RATE = voice.sample_rate_hz, FRAME = voice.hop_samples, HOP = FRAME / 2, BINS = HOP + 1;
const tensors = readTensors(voice.tensors, document.getElementById("weights").textContent);
const waves = makeWaves();
const noiseTable = makeNoise();

function readTensors(table, text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const floats = new Float32Array(bytes.buffer);
  const entries = Object.entries(table).map(([name, [start, length]]) => [name, floats.subarray(start, start + length)]);
  return Object.fromEntries(entries);
}

// ---- layers

// x (n, nIn) times weights (nOut, nIn), plus bias (nOut) -> (n, nOut)
const linear = (x, weights, bias) => product(x, weights, weights.length / bias.length, bias);

function product(x, weights, nIn, bias) {
  const n = x.length / nIn, nOut = weights.length / nIn, out = new Float32Array(n * nOut);
  for (let row = 0; row < n; row++) {
    const from = row * nIn;
    for (let o = 0, w = 0; o < nOut; o++) {
      let a = bias ? bias[o] : 0, b = 0, i = 0;
      for (; i + 1 < nIn; i += 2, w += 2) {
        a += x[from + i] * weights[w];
        b += x[from + i + 1] * weights[w + 1];
      }
      if (i < nIn) a += x[from + i] * weights[w++];
      out[row * nOut + o] = a + b;
    }
  }
  return out;
}

function layerNorm(x, name) {
  const weight = tensors[name + ".weight"], bias = tensors[name + ".bias"], n = weight.length;
  const out = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += n) {
    let mean = 0, square = 0;
    for (let i = 0; i < n; i++) mean += x[from + i] / n;
    for (let i = 0; i < n; i++) square += (x[from + i] - mean) ** 2 / n;
    const scale = 1 / Math.sqrt(square + 1e-5);
    for (let i = 0; i < n; i++) out[from + i] = (x[from + i] - mean) * scale * weight[i] + bias[i];
  }
  return out;
}

// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

function gelu(x) {
  for (let i = 0; i < x.length; i++) x[i] *= 0.5 * (1 + erf(x[i] * Math.SQRT1_2));
  return x;
}

// Each channel over time, nothing beyond the ends: (n, C) -> (n, C)
function depthwise(x, name, dilation) {
  const weight = tensors[name + ".weight"], bias = tensors[name + ".bias"], C = bias.length;
  const n = x.length / C, size = weight.length / C, out = new Float32Array(x.length);
  for (let t = 0; t < n; t++) {
    for (let c = 0; c < C; c++) {
      let sum = bias[c];
      for (let k = 0; k < size; k++) {
        const at = t + (k - (size >> 1)) * dilation;
        if (at >= 0 && at < n) sum += x[at * C + c] * weight[c * size + k];
      }
      out[t * C + c] = sum;
    }
  }
  return out;
}

function convNextBlock(x, name, dilation = 1) {
  const mixed = layerNorm(depthwise(x, name + ".depthwise", dilation), name + ".norm");
  const wide = gelu(linear(mixed, tensors[name + ".expand.weight"], tensors[name + ".expand.bias"]));
  const narrow = linear(wide, tensors[name + ".contract.weight"], tensors[name + ".contract.bias"]);
  const scale = tensors[name + ".scale"];
  return x.map((value, i) => value + scale[i % scale.length] * narrow[i]);
}

// ---- source

// The pulse train: harmonics up to half the sample rate in cosine phase, of unit power; f0 (F) Hz -> (S)
function pulseTrain(f0) {
  const out = new Float32Array(f0.length * FRAME);
  let start = 0; // cycles before the frame
  f0.forEach((here, frame) => {
    if (!(here > 0)) return;
    const before = f0[frame - 1] > 0 ? f0[frame - 1] : here, after = f0[frame + 1] > 0 ? f0[frame + 1] : here;
    const highest = Math.max(here, (before + here) / 2, (after + here) / 2);
    const harmonics = Math.max(1, Math.floor(RATE / 2 / Math.max(1, highest)));
    const power = Math.sqrt(2 / harmonics);
    let inside = 0;
    for (let i = 0; i < FRAME; i++) {
      const place = (i + 0.5) / FRAME - 0.5;
      inside += (here + Math.max(0, -place) * (before - here) + Math.max(0, place) * (after - here)) / RATE;
      const cycles = start + inside;
      const angle = Math.max(1e-6, 2 * Math.PI * Math.abs(cycles - Math.round(cycles)));
      out[frame * FRAME + i] = (power / 2) * (Math.sin((harmonics + 0.5) * angle) / Math.sin(angle / 2) - 1);
    }
    start += inside;
  });
  return out;
}

// A 32-bit integer hash (lowbias32, Chris Wellons)
function hash(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

function makeNoise() {
  const key = hash(voice.noise_table_key), scale = Math.sqrt(3) * Math.sqrt(FRAME / 2);
  return Float32Array.from({ length: 2 * voice.noise_rows * BINS }, (_, i) => (hash(key ^ i) / 2 ** 31 - 1) * scale);
}

// Cosines and sines of every bin, (K, 320) to analyse and (320, K) to synthesise
function makeWaves() {
  const cosine = new Float32Array(BINS * FRAME), sine = new Float32Array(BINS * FRAME);
  const backCosine = new Float32Array(BINS * FRAME), backSine = new Float32Array(BINS * FRAME);
  for (let k = 0; k < BINS; k++) {
    const share = (k === 0 || k === BINS - 1 ? 1 : 2) / FRAME;
    for (let i = 0; i < FRAME; i++) {
      const angle = (2 * Math.PI * ((k * i) % FRAME)) / FRAME;
      cosine[k * FRAME + i] = Math.cos(angle);
      sine[k * FRAME + i] = -Math.sin(angle);
      backCosine[i * BINS + k] = share * Math.cos(angle);
      backSine[i * BINS + k] = -share * Math.sin(angle);
    }
  }
  return { cosine, sine, backCosine, backSine };
}

// ---- voice

// The trunk: units (F), f0 (F) -> log gains (T, bands + noise bands)
function filters(units, f0, speaker) {
  const embedding = tensors["unit_embedding.0.weight"], C = tensors["norm.weight"].length;
  const people = tensors["speaker_embedding.weight"];
  const pitch = new Float32Array(2 * units.length);
  f0.forEach((hertz, t) => hertz > 0 && pitch.set([Math.log2(Math.max(1, hertz) / voice.reference_f0), 1], 2 * t));
  let x = linear(pitch, tensors["pitch_embedding.values.weight"], tensors["pitch_embedding.values.bias"]);
  x = x.map((value, i) => {
    const c = i % C, t = (i - c) / C;
    return value + embedding[units[t] * C + c] + (people ? people[speaker * C + c] : 0);
  });
  x = layerNorm(x, "norm");
  for (let block = 0; block < voice.sizes.n_blocks; block++) x = convNextBlock(x, "blocks." + block);
  x = linear(layerNorm(x, "head_norm"), tensors["head.weight"], tensors["head.bias"]);
  const [low, high] = voice.log_gain_range;
  return x.map((value) => Math.min(high, Math.max(low, value)));
}

// units (F) whole numbers, f0 (F) Hz with 0 = unvoiced, speaker 0 = unknown -> (S) samples in about [-1, 1]
function speak(units, f0, speaker = 0) {
  const logGains = filters(units, f0, speaker), { bands, noise_bands: noiseBands, minimum_phase: shifted } = voice.sizes;
  const pulses = pulseTrain(f0), noiseKey = hash(0), T = 2 * units.length, margin = HOP / 2;
  const out = new Float32Array(units.length * FRAME), piece = new Float32Array(FRAME);
  for (let t = 0, at = 0; t < T; t++) {
    const gains = logGains.subarray(at, (at += bands)), noiseGains = logGains.subarray(at, (at += noiseBands));
    for (let i = 0; i < FRAME; i++) {
      piece[i] = (pulses[t * HOP - margin + i] || 0) * tensors.window[i];
    }
    const pulseReal = product(piece, waves.cosine, FRAME), pulseImaginary = product(piece, waves.sine, FRAME);
    const gain = product(gains, tensors.interpolation, bands);
    const angle = shifted ? product(gains, tensors.phase_of_gain, bands) : null;
    const noiseGain = product(noiseGains, tensors.noise_interpolation, noiseBands);
    const row = (hash(noiseKey ^ t) & (voice.noise_rows - 1)) * BINS, second = voice.noise_rows * BINS;
    const real = new Float32Array(BINS), imaginary = new Float32Array(BINS);
    for (let k = 0; k < BINS; k++) {
      const loud = Math.exp(gain[k]), hiss = Math.exp(noiseGain[k]);
      const gainReal = shifted ? loud * Math.cos(angle[k]) : loud, gainImaginary = shifted ? loud * Math.sin(angle[k]) : 0;
      real[k] = noiseTable[row + k] * hiss + pulseReal[k] * gainReal - pulseImaginary[k] * gainImaginary;
      imaginary[k] = noiseTable[second + row + k] * hiss + pulseReal[k] * gainImaginary + pulseImaginary[k] * gainReal;
    }
    const even = product(real, waves.backCosine, BINS), odd = product(imaginary, waves.backSine, BINS);
    for (let i = 0; i < FRAME; i++) {
      const sample = t * HOP - margin + i;
      if (sample >= 0 && sample < out.length) out[sample] += (even[i] + odd[i]) * tensors.window[i];
    }
  }
  return out;
}

// (S) samples -> the address of a WAV file, 16 bits
function wavAddress(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF"), view.setUint32(4, 36 + 2 * samples.length, true), write(8, "WAVEfmt ");
  view.setUint32(16, 16, true), view.setUint16(20, 1, true), view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true), view.setUint32(28, 2 * RATE, true), view.setUint16(32, 2, true);
  view.setUint16(34, 16, true), write(36, "data"), view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => {
    view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(value * 32768))), true);
  });
  const bytes = new Uint8Array(view.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return "data:audio/wav;base64," + btoa(text);
}
