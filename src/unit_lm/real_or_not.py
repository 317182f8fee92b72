"""Which is real? The true continuation of a prompt against false ones, by how many nats a model needs.

After sWUGGY and sBLIMP (T. A. Nguyen et al. 2020, "The Zero Resource Speech Benchmark 2021"), without any text: what is
false is made from the true recording. Axes: U utterances.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from core.tables import parse_seconds, read_table
from unit_lm.utterances import UnitUtterance, join_frames, reverse_units, shuffle_units, slice_frames

FALSE_KINDS = {
    "reversed": "the continuation backwards in time",
    "shuffled": "its units in another order",
    "other": "what follows as late in another utterance of the language",
    "spliced": "its words in another order",
}
LEAST_WORDS = 3  # that a continuation is cut at, to be put into another order
TIE_NATS = 1e-5  # a unit: what counts as the same, since sums differ in their last digits


class Choice(NamedTuple):
    """A true continuation with its prompt, and the false ones by kind."""

    true: UnitUtterance
    false: dict[str, UnitUtterance]


Words = Mapping[str, Sequence[tuple[float, float]]]  # of each recording: (start, end) s of its words, in order


def read_words(path: Path) -> dict[str, list[tuple[float, float]]]:
    """words.tsv: source, start, end (s), text -> the places of the words of each recording."""
    words: dict[str, list[tuple[float, float]]] = {}
    for line, row in read_table(path, ("source", "start", "end")):
        start, end = (parse_seconds(row[name], f"{path}, line {line}") for name in ("start", "end"))
        words.setdefault(row["source"], []).append((start, end))
    return {source: sorted(spans) for source, spans in words.items()}


def make_choices(
    utterances: Sequence[UnitUtterance],
    words: Mapping[str, Words],
    *,
    prompt_seconds: float,
    continuation_seconds: float,
    seed: int,
) -> list[Choice]:
    """A choice for each utterance that is long enough, in order.

    words: of each language, where there are any. What cannot be made of an utterance is left out of its choice. All
    cuts are where a unit ends: half a unit more would give the false ones away.
    """
    wanted = [prompt_seconds * UNIT_RATE, (prompt_seconds + continuation_seconds) * UNIT_RATE]
    long = [one for one in utterances if one.durations.sum() >= wanted[1]]
    choices = []
    for place, utterance in enumerate(long):
        rng = np.random.default_rng([seed, place])
        prompt, end = unit_edges(utterance, wanted)
        before, after = slice_frames(utterance, 0, prompt), slice_frames(utterance, prompt, end)
        false = {"reversed": reverse_units(after), "shuffled": shuffle_units(after, seed, place)}
        others = [one for one in long if one.language == utterance.language and one.id != utterance.id]
        if others:
            other = others[rng.integers(len(others))]
            false["other"] = slice_frames(other, *unit_edges(other, wanted))
        spoken = words.get(utterance.language, {}).get(utterance.source)
        if spoken and (spliced := splice_words(utterance, spoken, prompt, end, rng)) is not None:
            false["spliced"] = spliced
        joined = {name: join_frames([before, part]) for name, part in false.items()}
        choices.append(Choice(slice_frames(utterance, 0, end), joined))
    return choices


def unit_edges(utterance: UnitUtterance, frames: Sequence[float]) -> list[int]:
    """Of each of ``frames``, the nearest at which a unit begins or ends."""
    edges = np.concatenate([[0], np.cumsum(utterance.durations)])
    return [int(edges[np.abs(edges - frame).argmin()]) for frame in frames]


def splice_words(
    utterance: UnitUtterance,
    spoken: Sequence[tuple[float, float]],
    first: int,
    last: int,
    rng: np.random.Generator,
) -> UnitUtterance | None:
    """Frames ``first`` to ``last`` with the words in them in another order, each with the pause behind it.

    None where too few words begin there.
    """
    edges = unit_edges(utterance, [(start - utterance.start) * UNIT_RATE for start, _ in spoken])
    edges = sorted({edge for edge in edges if first < edge < last})
    if len(edges) < LEAST_WORDS:
        return None
    order = rng.permutation(len(edges))
    while (order == np.arange(len(edges))).all():
        order = rng.permutation(len(edges))
    parts = [slice_frames(utterance, *span) for span in zip(edges, [*edges[1:], last])]
    return join_frames([slice_frames(utterance, first, edges[0]), *(parts[place] for place in order)])


def judge(
    choices: Sequence[Choice], nats_of: Callable[[Sequence[UnitUtterance]], Sequence[float]]
) -> list[dict[str, float]]:
    """For each choice and kind: 1 where the true continuation needs fewer nats a unit, 0.5 for a tie, else 0.

    nats_of: utterances -> nats of each, without those of its end.
    """
    everything = [one for choice in choices for one in (choice.true, *choice.false.values())]
    per_unit = iter([nats / len(one.units) for one, nats in zip(everything, nats_of(everything))])
    found = []
    for choice in choices:
        true = next(per_unit)
        gains = {name: next(per_unit) - true for name in choice.false}
        found.append({name: 0.5 if abs(gain) < TIE_NATS else float(gain > 0) for name, gain in gains.items()})
    return found
