"""What is searched for: clips of a word, checked, without the silence around it, as features.

Axes: S samples, Q frames of a query, P features.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import load_audio
from core.composed_names import find_typed
from core.errors import UserError
from core.frames import HOP_SAMPLES, SAMPLE_RATE, UNIT_RATE
from core.tables import parse_seconds
from encoders.encode import Encoder, encode
from spoken_search.features import Transform, prepare_features

SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 10.0  # of speech in a query
SILENT_PEAK = 10 ** (-60 / 20)  # of full scale
QUIET_DB = 35.0  # below the loudest 20 ms: silence around the word
EDGE_FRAMES = 1  # of what is quiet, that stay on either side
ROUNDED_SECONDS = 0.05  # by which a stated end may lie behind the real one
CONTEXT_SECONDS = 1.0  # around a part of a longer recording, which the encoder hears and the search does not


class QueryClip(NamedTuple):
    """Where a query is heard: a file, or the seconds ``start`` to ``end`` of it."""

    path: Path
    start: float | None = None
    end: float | None = None


class Query(NamedTuple):
    """A query as it is searched for, and as it is played."""

    name: str
    waveform: np.ndarray | None  # (S,), from the first frame to the last
    frames: np.ndarray  # (Q, P) float32 of unit length


def parse_query(text: str) -> QueryClip:
    """``clip.wav``, or ``recording.mp3@12.3-13.1`` for a part of a longer one."""
    name, at, times = text.rpartition("@")
    first, dash, last = times.partition("-")
    if not at or find_typed(Path(text)).exists():
        return QueryClip(find_typed(Path(text)))
    try:
        start, end = (parse_seconds(time, f"--query {text}") for time in (first, last))
    except UserError as error:
        raise UserError(
            f"--query {text}: expected a file that is there, or FILE@START-END in seconds or as a clock, as in "
            "story.mp3@12.3-13.1 or story.mp3@0:12.3-0:13.1"
        ) from error
    if not 0 <= start < end:
        raise UserError(f"--query {text}: expected a start before the end, found {first} and {last}")
    return QueryClip(find_typed(Path(name)), start, end)


def find_speech(waveform: np.ndarray) -> tuple[int, int]:
    """First and last frame + 1 of what is not quiet in (S,), with EDGE_FRAMES on either side; (0, 0) in silence."""
    n_frames = len(waveform) // HOP_SAMPLES
    if not n_frames or np.abs(waveform).max() < SILENT_PEAK:
        return 0, 0
    power = np.square(waveform[: n_frames * HOP_SAMPLES], dtype=np.float64).reshape(n_frames, -1).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-QUIET_DB / 10))
    return max(int(loud[0]) - EDGE_FRAMES, 0), min(int(loud[-1]) + 1 + EDGE_FRAMES, n_frames)


def read_query(clip: QueryClip, encoder: Encoder, transform: Transform) -> Query:
    """One query. UserError where it is silent, too short, too long, or ends after its recording."""
    recording = load_audio(clip.path)
    seconds = len(recording) / SAMPLE_RATE
    start, end = clip.start or 0.0, clip.end or seconds
    if end > seconds + ROUNDED_SECONDS:
        raise UserError(f"{clip.path}: expected a part of its {seconds:.2f} seconds, found {start:g} to {end:g}")
    before = round(max(start - CONTEXT_SECONDS, 0.0) * UNIT_RATE)
    after = round((end + CONTEXT_SECONDS) * UNIT_RATE)
    heard = recording[before * HOP_SAMPLES : after * HOP_SAMPLES]
    first, last = round(start * UNIT_RATE), min(round(end * UNIT_RATE), len(recording) // HOP_SAMPLES)
    word = recording[first * HOP_SAMPLES : last * HOP_SAMPLES]
    speech_start, speech_stop = find_speech(word)
    _check_length(clip, word, (speech_stop - speech_start) / UNIT_RATE)
    first, last = first + speech_start, first + speech_stop
    states = prepare_features(encode(encoder, [heard])[0], transform)
    name = str(clip.path) if clip.start is None else f"{clip.path}@{start:g}-{end:g}"
    samples = recording[first * HOP_SAMPLES : last * HOP_SAMPLES]
    return Query(name, samples, states[first - before : last - before])


def _check_length(clip: QueryClip, word: np.ndarray, seconds: float) -> None:
    if not seconds and len(word) >= HOP_SAMPLES:
        raise UserError(f"{clip.path}: expected a word that is said, found silence; record it again, or louder")
    if seconds < SHORTEST_SECONDS:
        raise UserError(
            f"{clip.path}: expected at least {SHORTEST_SECONDS} s of speech, found {seconds:.2f}; a whole word, "
            "or two, are found better than a syllable"
        )
    if seconds > LONGEST_SECONDS:
        raise UserError(
            f"{clip.path}: expected a word or a phrase of up to {LONGEST_SECONDS:g} s, found {seconds:.1f}; cut it, or "
            f"name a part of it: --query {clip.path}@START-END"
        )
