"""Folds of a training split: settings are chosen on speech that was held out of training; the test split is kept."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.records import TranscribedItem

HELD_OUT = "fold"  # what the held-out part is called, where splits have names


class Fold(NamedTuple):
    """One of ``of`` folds, counted from 1."""

    number: int
    of: int


def parse_fold(text: str) -> Fold:
    """``2/5``: the second of five folds. Raises UserError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    fold = Fold(int(found[1]), int(found[2])) if found else None
    if fold is None or fold.of < 2 or not 1 <= fold.number <= fold.of:
        raise UserError(f"--fold {text}: expected NUMBER/FOLDS with two folds or more, as in 2/5")
    return fold


def part_fold(items: Sequence[TranscribedItem], fold: Fold) -> tuple[list[TranscribedItem], list[TranscribedItem]]:
    """(what is trained on, what is held out) of a training split.

    Folds are parts of the list with about as many seconds each, so neighbours of one recording mostly stay together.
    Raises UserError for fewer items than folds.
    """
    if len(items) < fold.of:
        raise UserError(f"--fold {fold.number}/{fold.of}: expected {fold.of} training utterances, found {len(items)}")
    seconds = np.array([item["duration"] for item in items])
    middles = (np.cumsum(seconds) - seconds / 2) / seconds.sum()
    numbers = 1 + np.minimum((middles * fold.of).astype(int), fold.of - 1)
    held_out = [item for item, number in zip(items, numbers) if number == fold.number]
    if not held_out:
        raise UserError(f"--fold {fold.number}/{fold.of}: nothing lies in this fold; take fewer folds")
    return [item for item, number in zip(items, numbers) if number != fold.number], held_out
