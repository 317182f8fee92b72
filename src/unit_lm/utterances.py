"""Utterances of several languages, as a language model reads them from phase 1's corpora.

Axes: U deduplicated units, T tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.frames import UNIT_RATE
from unit_lm.vocabulary import Vocabulary, encode_utterances
from units.corpus import deduplicate, expand, read_corpus
from units.selection import EVERYTHING, Selection, is_selected


class UnitUtterance(NamedTuple):
    """An utterance of one language: its units, how long they last, and where it was cut from."""

    id: str
    language: str
    units: np.ndarray  # (U,) int64, deduplicated
    durations: np.ndarray  # (U,) int64 frames
    source: str = ""  # recording
    start: float = 0.0  # s, in the recording


def seconds_of(utterance: UnitUtterance) -> float:
    """How long the utterance lasts, by its frames."""
    return float(utterance.durations.sum()) / UNIT_RATE


def read_utterances(
    corpora: Mapping[str, Path], splits: Sequence[str], selection: Selection = EVERYTHING
) -> list[UnitUtterance]:
    """The selected utterances of ``splits`` of each language's corpus, without empty ones.

    Raises UserError for a language that has none.
    """
    utterances = []
    for language, corpus in corpora.items():
        found = [
            UnitUtterance(
                entry["id"],
                language,
                np.asarray(entry["units"], np.int64),
                np.asarray(entry["durations"], np.int64),
                entry.get("source", ""),
                entry.get("start", 0.0),
            )
            for entry in read_corpus(corpus, splits=splits)
            if entry["units"] and is_selected(entry, selection)
        ]
        if not found:
            raise UserError(f"{corpus}: expected utterances in split {' or '.join(splits)}, found none; add recordings")
        utterances += found
    return utterances


def shuffle_units(utterance: UnitUtterance, *key: int) -> UnitUtterance:
    """The control: the same units, each with its duration, in an order that ``key`` alone decides.

    Equal neighbours become one unit, as everywhere in a corpus.
    """
    order = np.random.default_rng(key).permutation(len(utterance.units))
    return _replace_frames(utterance, expand(utterance.units[order], utterance.durations[order]))


def reverse_units(utterance: UnitUtterance) -> UnitUtterance:
    """The same units backwards in time."""
    return utterance._replace(units=utterance.units[::-1], durations=utterance.durations[::-1])


def slice_frames(utterance: UnitUtterance, start: int, end: int) -> UnitUtterance:
    """Frames ``start`` to ``end`` of an utterance, which may begin and end inside a unit."""
    return _replace_frames(utterance, expand(utterance.units, utterance.durations)[start:end])


def join_frames(parts: Sequence[UnitUtterance]) -> UnitUtterance:
    """One utterance out of several, under the name of the first."""
    return _replace_frames(parts[0], np.concatenate([expand(part.units, part.durations) for part in parts]))


def _replace_frames(utterance: UnitUtterance, frames: np.ndarray) -> UnitUtterance:
    units, durations = deduplicate(frames)
    return utterance._replace(units=units, durations=durations)


def tokenize(vocabulary: Vocabulary, utterances: Sequence[UnitUtterance]) -> list[np.ndarray]:
    """(T,) token ids of each utterance, in order, without the language's token and <end>."""
    tokens: list[np.ndarray | None] = [None] * len(utterances)
    for language in dict.fromkeys(utterance.language for utterance in utterances):
        places = [place for place, one in enumerate(utterances) if one.language == language]
        pairs = [(utterances[place].units, utterances[place].durations) for place in places]
        for place, found in zip(places, encode_utterances(vocabulary, language, pairs)):
            tokens[place] = found
    return tokens
