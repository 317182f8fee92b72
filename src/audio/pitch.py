"""F0 once, in parallel, cached: Praat's autocorrelation method at 50 Hz.

Paul Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of
a sampled sound", through praat-parselmouth (GPL).
"""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

import parselmouth
from tqdm import tqdm

from audio.track_store import cut_tasks, fill_some, find_missing, read_track
from core.errors import UserError
from core.frames import F0_CEILING, F0_FLOOR, HOP_SAMPLES, SAMPLE_RATE, samples_to_frames
from core.process_pool import ended_at_once, follow_parent, start_pool


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


def kept_f0(cache: Path, utterance_id: str) -> np.ndarray:
    """(F,) float32 F0 of a recording that ``fill_f0_cache`` has seen, mapped and not read."""
    track = read_track(f0_store(cache), utterance_id)
    if track is None:
        raise UserError(f"{f0_store(cache)}: expected F0 of {utterance_id}, found none; start the command again")
    return track


def fill_f0_cache(cache: Path, recordings: Iterable[tuple[str, Path]], *, num_workers: int | None = None) -> None:
    """Compute what ``cache`` lacks of (id, audio path) pairs, or has from older audio.

    ``num_workers`` processes share it (default: all cores). A kill costs ``TASK_RECORDINGS`` a process.
    """
    store = f0_store(cache)
    missing = find_missing(store, recordings)
    if not missing:
        return
    tasks, n_workers = cut_tasks(missing), num_workers or os.cpu_count() or 1
    fill = partial(fill_some, store, extract_f0)
    with tqdm(total=len(missing), desc="F0", unit="segment", disable=None) as progress:
        if n_workers == 1 or len(tasks) == 1:
            for task in tasks:
                progress.update(fill(task))
            return
        with ended_at_once(start_pool(n_workers, initializer=follow_parent)) as pool:
            for n_done in pool.map(fill, tasks):
                progress.update(n_done)


def f0_store(cache: Path) -> Path:
    return Path(cache) / "f0_praat"
