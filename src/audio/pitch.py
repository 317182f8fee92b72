"""F0 once, in parallel, cached: Praat's autocorrelation method at 50 Hz.

Paul Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of
a sampled sound", through praat-parselmouth (GPL).
"""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import parselmouth
from tqdm import tqdm

from audio.audio_io import load_audio
from core.files import is_current, write_features
from core.frames import F0_CEILING, F0_FLOOR, HOP_SAMPLES, SAMPLE_RATE, samples_to_frames


def extract_f0(waveform: np.ndarray) -> np.ndarray:
    """F0 of (S,) float at 16 kHz: (S // 320,) float32 Hz, 0 = unvoiced; frame i is centred on 320 i + 160."""
    n_frames = samples_to_frames(len(waveform))
    if n_frames == 0:
        return np.zeros(0, np.float32)
    # Praat centres its frames in the sound, each looking at 3 / floor = 0.05 s: one frame of padding on either side
    # makes them exactly ours.
    padded = np.pad(np.asarray(waveform[: n_frames * HOP_SAMPLES], np.float64), HOP_SAMPLES)
    sound = parselmouth.Sound(padded, SAMPLE_RATE)
    pitch = sound.to_pitch_ac(HOP_SAMPLES / SAMPLE_RATE, F0_FLOOR, pitch_ceiling=F0_CEILING)
    f0 = pitch.selected_array["frequency"].astype(np.float32)
    assert len(f0) == n_frames, f"Praat gave {len(f0)} frames for {n_frames}"
    return f0


def cached_f0(cache: Path, utterance_id: str, audio: Path) -> np.ndarray:
    """(F,) float32 F0 of one recording, read from ``cache`` where newer than the audio, else computed and kept."""
    path = _cache_file(cache, utterance_id)
    if is_current(path, audio):
        return np.load(path, allow_pickle=False)
    f0 = extract_f0(load_audio(audio))
    write_features(path, f0)
    return f0


def fill_f0_cache(cache: Path, recordings: list[tuple[str, Path]], *, num_workers: int | None = None) -> None:
    """Compute what ``cache`` lacks of (id, audio path) pairs, or has from older audio.

    ``num_workers`` processes share it (default: all cores).
    """
    missing = [(name, audio) for name, audio in recordings if not is_current(_cache_file(cache, name), audio)]
    if not missing:
        return
    ids, audios = zip(*missing)
    with ProcessPoolExecutor(num_workers or os.cpu_count()) as pool:
        done = pool.map(_fill_one, [cache] * len(ids), ids, audios, chunksize=8)
        for _ in tqdm(done, total=len(ids), desc="F0", unit="segment", disable=None):
            pass


def _cache_file(cache: Path, utterance_id: str) -> Path:
    return Path(cache) / "f0_praat" / f"{utterance_id}.npy"


def _fill_one(cache: Path, utterance_id: str, audio: Path) -> None:
    cached_f0(cache, utterance_id, audio)
