"""Audio read ahead in threads: one chunk is decoded while the one before it is being encoded."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import soundfile

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import HOP_SAMPLES, samples_to_frames


def read_waveform(path: Path) -> tuple[np.ndarray | None, str]:
    """((S,) float32, "") or (None, reason) for audio that cannot serve: unreadable, not finite, under one frame."""
    try:
        waveform = load_audio(path)
    except (UserError, OSError, soundfile.SoundFileError) as error:
        return None, str(error)
    if not np.isfinite(waveform).all():
        return None, f"{path}: expected finite samples, found NaN or Inf"
    if samples_to_frames(len(waveform)) == 0:
        return None, f"{path}: expected at least {HOP_SAMPLES} samples, found {len(waveform)}"
    return waveform, ""


def map_ahead(work: Callable, chunks: Iterable[tuple[object, list]], n_workers: int) -> Iterator[tuple[object, list]]:
    """Apply ``work`` to every item of (key, items) chunks in threads, one chunk ahead of the reader, in order."""
    with ThreadPoolExecutor(n_workers) as pool:
        waiting = None
        for key, items in chunks:
            started = (key, [pool.submit(work, item) for item in items])
            if waiting:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = started
        if waiting:
            yield waiting[0], [future.result() for future in waiting[1]]
