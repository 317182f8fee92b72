"""F0 once, in parallel, cached: Praat's autocorrelation method at 50 Hz.

Paul Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of
a sampled sound", through praat-parselmouth (GPL).
"""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import parselmouth
from tqdm import tqdm

from audio.audio_io import load_audio
from audio.f0_store import N_BUCKETS, add_tracks, is_stored, read_track
from core.errors import UserError
from core.frames import F0_CEILING, F0_FLOOR, HOP_SAMPLES, SAMPLE_RATE, samples_to_frames
from core.packed_files import file_state, is_file, name_key
from core.process_pool import ended_at_once, follow_parent

TASK_RECORDINGS = 1000  # of one bucket: what a kill can cost a process


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
    missing = [
        (name, str(audio)) for name, audio in recordings if not (is_file(audio) and is_stored(store, name, audio))
    ]
    if not missing:
        return
    tasks, n_workers = _cut_tasks(missing), num_workers or os.cpu_count() or 1
    with tqdm(total=len(missing), desc="F0", unit="segment", disable=None) as progress:
        if n_workers == 1 or len(tasks) == 1:
            for task in tasks:
                progress.update(_fill_some(store, task))
            return
        with ended_at_once(ProcessPoolExecutor(n_workers, initializer=follow_parent)) as pool:
            for n_done in pool.map(_fill_some, [store] * len(tasks), tasks):
                progress.update(n_done)


def f0_store(cache: Path) -> Path:
    return Path(cache) / "f0_praat"


def _cut_tasks(recordings: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The recordings of each bucket, at most TASK_RECORDINGS together."""
    buckets: dict[int, list[tuple[str, str]]] = {}
    for name, audio in recordings:
        buckets.setdefault(name_key(name) % N_BUCKETS, []).append((name, audio))
    return [
        bucket[start : start + TASK_RECORDINGS]
        for _, bucket in sorted(buckets.items())
        for start in range(0, len(bucket), TASK_RECORDINGS)
    ]


def _fill_some(store: Path, recordings: list[tuple[str, str]]) -> int:
    """F0 of recordings of one bucket; what was computed before one that cannot be read is kept."""
    tracks, number = [], name_key(recordings[0][0]) % N_BUCKETS
    try:
        for name, audio in recordings:
            read_at, waveform = time.time_ns(), load_audio(Path(audio))
            tracks.append((name, file_state(audio)[0], read_at, extract_f0(waveform)))
    finally:
        if tracks:
            add_tracks(store, number, tracks)
    return len(tracks)
