"""Recordings of known speech with other sounds under them, and how well the speech in them was found.

Axes: S samples at 16 kHz, T steps of 10 ms. Times are seconds.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.tables import read_table
from evaluation.bootstrap import Interval, bootstrap_ratio
from segmentation.pauses import (
    STEP_SAMPLES,
    find_active,
    find_threshold,
    is_noise_or_music,
    measure_levels,
    measure_piece,
)
from segmentation.recordings import list_sources
from segmentation.voice_activity import false_sound, find_speech, hear

ROOM_DB = -70.0  # RMS of the faint noise in what is put between the prompts, as the recipe has it
GAP_BORDER = 1.0  # seconds at both ends of a stretch without speech that may belong to its neighbours

Span = tuple[float, float]  # start and end in seconds


class Mixture(NamedTuple):
    """A recording of which is known where somebody speaks."""

    waveform: np.ndarray  # (S,)
    speech: list[Span]
    gaps: list[Span]  # long stretches without any


class Heard(NamedTuple):
    """What the segmentation measures in a recording, whichever way it then finds speech."""

    levels: np.ndarray  # (T,)
    flatness: np.ndarray  # (T,)
    spoken: np.ndarray  # (T,) bool, by the network


class Found(NamedTuple):
    """A segment that was cut."""

    start: float
    end: float
    is_flagged: bool


def read_truth(path: Path) -> dict[str, list[Span]]:
    truth: dict[str, list[Span]] = {}
    for _, row in read_table(path, ("source", "start", "end")):
        truth.setdefault(row["source"], []).append((float(row["start"]), float(row["end"])))
    return truth


def add_gaps(waveform: np.ndarray, speech: Sequence[Span], seconds: float, every: float) -> Mixture:
    """(S,) with ``seconds`` without speech put into the pause after each ``every`` seconds of it; 0: as it is."""
    parts, moved, gaps, shift, done = [], [], [], 0.0, 0
    random = np.random.default_rng(0)
    for number, (start, end) in enumerate(speech):
        before = speech[number - 1][1] if number else 0.0
        if seconds and number and start >= every * (len(gaps) + 1) and start - before > 0.3:
            middle = round((before + start) / 2 * SAMPLE_RATE)
            room = random.standard_normal(round(seconds * SAMPLE_RATE), dtype=np.float32) * 10 ** (ROOM_DB / 20)
            parts += [waveform[done:middle], room]
            gaps.append((middle / SAMPLE_RATE + shift, middle / SAMPLE_RATE + shift + seconds))
            done, shift = middle, shift + seconds
        moved.append((start + shift, end + shift))
    return Mixture(np.concatenate([*parts, waveform[done:]]), moved, gaps)


def load_background(folder: Path) -> np.ndarray:
    """All recordings of a folder one after the other, (S,)."""
    below = np.concatenate([load_audio(path) for path in list_sources(folder).values()] or [np.zeros(0, np.float32)])
    if not below.any():
        raise UserError(f"{folder}: expected recordings to mix under the speech, found none")
    return below


def mix_under(waveform: np.ndarray, seed: int, *, below: np.ndarray, snr_db: float) -> np.ndarray:
    """(S,) with a stretch of ``below`` from a random place on, ``snr_db`` below the loud half of the speech."""
    start = np.random.default_rng(seed).integers(len(below))
    other = np.take(below, np.arange(start, start + len(waveform)), mode="wrap")
    loud = np.abs(waveform)[np.abs(waveform) > np.abs(waveform).mean()]
    gain = np.sqrt(np.mean(loud**2) / max(np.mean(other**2), 1e-12)) * 10 ** (-snr_db / 20)
    mixed = waveform + np.float32(gain) * other
    return mixed / max(1.0, np.abs(mixed).max())


def measure_mixture(waveform: np.ndarray) -> Heard:
    probabilities: list[np.ndarray] = []
    levels, flatness, _ = measure_levels(hear([waveform], probabilities))
    return Heard(levels, flatness, find_speech(np.concatenate(probabilities), len(levels)))


def loud_without_speech(heard: Heard, threshold_db: float) -> float:
    """What ``--vad auto`` measures in a recording of up to ten minutes."""
    return false_sound(find_active(heard.levels, find_threshold(heard.levels, threshold_db)), heard.spoken)


def steps_of(spans: Iterable[Span], n_steps: int) -> np.ndarray:
    """Spans -> (T,) bool."""
    mask = np.zeros(n_steps, bool)
    for start, end in spans:
        mask[round(start * SAMPLE_RATE) // STEP_SAMPLES : -(-round(end * SAMPLE_RATE) // STEP_SAMPLES)] = True
    return mask


def describe_pieces(pieces: Iterable[tuple[int, int]], heard: Heard) -> list[Found]:
    """Pieces in steps -> segments in seconds, flagged as the manifest flags them."""
    step = STEP_SAMPLES / SAMPLE_RATE
    return [
        Found(
            start * step,
            end * step,
            is_noise_or_music(*measure_piece(heard.levels[start:end], heard.flatness[start:end])),
        )
        for start, end in pieces
    ]


def overlap(span: Span, others: np.ndarray) -> float:
    """Seconds of ``span`` that lie in the spans (N, 2)."""
    return float(np.maximum(0, np.minimum(span[1], others[:, 1]) - np.maximum(span[0], others[:, 0])).sum())


def judge(found: Sequence[Found], mixture: Mixture) -> dict[str, tuple[float, float]]:
    """Numerator and denominator of every share, of one recording."""
    speech = np.asarray(mixture.speech).reshape(-1, 2)
    gaps = np.asarray([(a + GAP_BORDER, b - GAP_BORDER) for a, b in mixture.gaps]).reshape(-1, 2)
    spoken, in_gaps = (float((spans[:, 1] - spans[:, 0]).sum()) for spans in (speech, gaps))
    kept = sum(overlap(segment[:2], speech) for segment in found)
    inside = sum(segment.end - segment.start for segment in found)
    rest = len(mixture.waveform) / SAMPLE_RATE - spoken
    cuts = [cut for segment in found for cut in segment[:2]]
    in_words = sum(bool(((speech[:, 0] < cut) & (cut < speech[:, 1])).any()) for cut in cuts)
    gap_cut, gap_flagged, speech_flagged = (
        sum(overlap(segment[:2], spans) for segment in found if segment.is_flagged or not only_flagged)
        for spans, only_flagged in ((gaps, False), (gaps, True), (speech, True))
    )
    return {
        "speech_kept": (kept, spoken),
        "rest_dropped": (rest - (inside - kept), rest),
        "ends_in_words": (in_words, len(cuts)),
        "gaps_cut": (gap_cut, in_gaps),
        "gaps_flagged": (gap_flagged, gap_cut),
        "gaps_used": (gap_cut - gap_flagged, in_gaps),
        "speech_flagged": (speech_flagged, spoken),
    }


def summarise(judged: Sequence[dict[str, tuple[float, float]]]) -> dict[str, Interval]:
    """Shares in per cent with their intervals over recordings."""
    shares = {}
    for name in judged[0]:
        low_high = bootstrap_ratio(*zip(*(row[name] for row in judged)))
        shares[name] = low_high._replace(**{key: 100 * getattr(low_high, key) for key in ("mean", "low", "high")})
    return shares
