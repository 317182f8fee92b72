"""Recordings of any length, one piece at a time: where their pieces lie, then the samples of each."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import stream_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.cut_recording import check_length, piece_bounds
from segmentation.pauses import (
    MIN_SEGMENT_DURATION,
    cut_blocks,
    find_segments,
    is_silent,
    measure_levels,
)


class PiecePlan(NamedTuple):
    """Where the pieces of speech of a recording lie."""

    bounds: list[tuple[int, int]]  # samples at 16 kHz
    n_samples: int
    notes: list[str]  # what the user should know


def plan_pieces(path: Path, **flags: float) -> PiecePlan:
    """Decode once and find the pieces of speech.

    flags: of ``find_segments`` (seconds, dB). A recording of less than the shortest piece is one piece, a silent one
    has none. Raises UserError for a file that cannot be decoded or holds no audio.
    """
    if os.path.getsize(path) == 0:
        raise UserError(f"{path}: is empty (0 bytes); copy it again")
    levels, _, n_samples = measure_levels(stream_audio(path))
    if n_samples == 0:
        raise UserError(f"{path}: holds no audio; copy it again")
    notes = _check_stated_length(path, n_samples)
    if n_samples < flags.get("min_duration", MIN_SEGMENT_DURATION) * SAMPLE_RATE:
        return PiecePlan([(0, n_samples)], n_samples, notes)
    found = find_segments(levels, **flags)
    if is_silent(found.threshold):
        return PiecePlan([], n_samples, [*notes, "is silent"])
    if too_short := found.dropped["too_short"]:
        notes = [*notes, f"{too_short:.1f} s left out in pieces too short to hear"]
    return PiecePlan(piece_bounds(found, n_samples), n_samples, notes)


def _check_stated_length(path: Path, n_samples: int) -> list[str]:
    try:
        check_length(path, n_samples)
    except UserError as error:
        return [str(error).partition(";")[0]]
    return []


def read_pieces(path: Path, bounds: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Decode once more and stream the (S,) float32 samples of each (start, end), in order, in bounded memory."""
    return cut_blocks(stream_audio(path), list(bounds))
