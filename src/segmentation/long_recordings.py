"""Recordings of any length, one piece at a time: where their pieces lie, then the samples of each."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import stream_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.cut_recording import check_length
from segmentation.pauses import (
    MIN_SEGMENT_DURATION,
    STEP_SAMPLES,
    cut_blocks,
    find_segments,
    is_silent,
    measure_levels,
)


def plan_pieces(path: Path, **flags: float) -> dict:
    """Decode once and find the pieces of speech, in samples at 16 kHz: {"bounds", "n_samples", "notes"}.

    flags: of ``find_segments`` (seconds, dB). A recording of less than the shortest piece is one piece, a silent one
    has none. notes: what the user should know. Raises UserError for a file that cannot be decoded or holds no audio.
    """
    if os.path.getsize(path) == 0:
        raise UserError(f"{path}: is empty (0 bytes); copy it anew")
    levels, _, n_samples = measure_levels(stream_audio(path))
    if n_samples == 0:
        raise UserError(f"{path}: holds no audio; copy it anew")
    notes = _check_stated_length(path, n_samples)
    if n_samples < flags.get("min_duration", MIN_SEGMENT_DURATION) * SAMPLE_RATE:
        return {"bounds": [(0, n_samples)], "n_samples": n_samples, "notes": notes}
    found = find_segments(levels, **flags)
    if is_silent(found["threshold"]):
        return {"bounds": [], "n_samples": n_samples, "notes": [*notes, "is silent"]}
    if found["dropped"]["too_short"]:
        notes = [*notes, f"{found['dropped']['too_short']:.1f} s left out in pieces too short to hear"]
    bounds = [(start * STEP_SAMPLES, min(end * STEP_SAMPLES, n_samples)) for start, end in found["pieces"]]
    return {"bounds": bounds, "n_samples": n_samples, "notes": notes}


def _check_stated_length(path: Path, n_samples: int) -> list[str]:
    try:
        check_length({"path": str(path), "keep_truncated": False}, n_samples)
    except UserError as error:
        return [str(error).partition(";")[0]]
    return []


def read_pieces(path: Path, bounds: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Decode once more and stream the (S,) float32 samples of each (start, end), in order, in bounded memory."""
    return cut_blocks(stream_audio(path), list(bounds))
