"""A recording continued: prompt → units → what the language model draws → timing and pitch → the voice.

Axes: U units, F frames (50 Hz), S samples.
"""

from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE, frames_to_samples, frames_to_seconds
from core.records import Continuation, UnitLoop
from prosody.prediction import Prosody, predict_durations, predict_f0
from unit_lm.generation import Sampling, continue_long, find_loops
from unit_lm.saved_lm import UnitLM
from unit_lm.vocabulary import decode_symbols, encode_utterances, frame_tokens
from units.corpus import deduplicate, expand
from units.requests import SpokenItem


class Prompt(NamedTuple):
    """What was said: units with their timing, and its pitch."""

    units: np.ndarray  # (U,) int64, deduplicated
    durations: np.ndarray  # (U,) frames
    f0: np.ndarray  # (F,) float32 Hz, 0 = unvoiced


class Drawn(NamedTuple):
    """What the language model says behind a prompt."""

    units: np.ndarray  # (U,) int64; the first is not the prompt's last
    durations: np.ndarray | None  # (U,) frames, of models that know them
    ended: bool  # by itself


def make_prompt(frames: np.ndarray, f0: np.ndarray) -> Prompt:
    """From (F,) units and F0, as a recording has them."""
    return Prompt(*deduplicate(frames), f0)


def draw(lm: UnitLM, language: str, prompt: Prompt, sampling: Sampling, *, sample: int, seconds: float) -> Drawn:
    """Units behind the prompt, enough for ``seconds`` where the model does not end before."""
    tokens = encode_utterances(lm.vocabulary, language, [(prompt.units, prompt.durations)])[0]
    start = frame_tokens(lm.vocabulary, language, tokens, ended=False)
    # A token is a frame at least.
    longest = max(1, round(seconds * UNIT_RATE))
    found, ended = continue_long(lm, language, start, sampling, sample=sample, longest=longest)
    units, durations = decode_symbols(lm.vocabulary, language, found)
    if durations is None and len(units) and units[0] == prompt.units[-1]:
        units = units[1:]
    return Drawn(units, durations, ended)


def time_units(prosody: Prosody, prompt: Prompt, drawn: Drawn, seconds: float, speaker: str | None) -> Drawn:
    """With the durations that the predictor gives where there are none, cut at ``seconds``."""
    durations = drawn.durations
    if durations is None:
        both = np.concatenate([prompt.units, drawn.units])
        durations = predict_durations(prosody, both, speaker)[len(prompt.units) :]
    longest = int(seconds * UNIT_RATE)
    kept = np.diff(np.minimum(np.cumsum(durations), longest), prepend=0)
    n_kept = int((kept > 0).sum())
    return Drawn(drawn.units[:n_kept], kept[:n_kept], drawn.ended and int(durations.sum()) <= longest)


def as_spoken(name: str, prosody: Prosody, prompt: Prompt, timed: Drawn, speaker: str | None) -> SpokenItem:
    """Prompt and continuation as the voice speaks them: the prompt's pitch is its own."""
    units = np.concatenate([prompt.units, timed.units])
    durations = np.concatenate([prompt.durations, timed.durations])
    f0 = predict_f0(prosody, units, durations, speaker)
    f0[: len(prompt.f0)] = prompt.f0
    return SpokenItem(name, expand(units, durations)[:, None], f0, speaker)


def describe_continuation(number: int, audio: str, prompt: Prompt, timed: Drawn) -> Continuation:
    """A row of continuations.json."""
    return {
        "number": number,
        "audio": audio,
        "prompt_seconds": frames_to_seconds(len(prompt.f0)),
        "seconds": frames_to_seconds(int(timed.durations.sum())),
        "ended": timed.ended,
        "units": timed.units.tolist(),
        "durations": timed.durations.tolist(),
        "loops": describe_loops(timed),
    }


def describe_loops(timed: Drawn) -> list[UnitLoop]:
    """The loops of a continuation, in seconds from the end of the prompt."""
    edges = np.concatenate([[0], np.cumsum(timed.durations)])
    return [
        {"start": frames_to_seconds(int(edges[start])), "end": frames_to_seconds(int(edges[end])), "n_units": period}
        for start, end, period in find_loops(timed.units)
    ]


def continuation_alone(waveform: np.ndarray, prompt: Prompt) -> np.ndarray:
    """(S,) of prompt and continuation -> what comes behind the prompt."""
    return waveform[frames_to_samples(len(prompt.f0)) :]
