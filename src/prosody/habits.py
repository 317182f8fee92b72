"""What each unit does on average: how often it is voiced, how high, how long. The predictor starts from it.

A unit's averages over the training data know the answer at every place of the training data. So while it trains, the
predictor gets each utterance's habits from the other utterances (cross-fitting); then it learns how far to trust them.

Axes: U deduplicated units, F frames (50 Hz), K duration classes, H = K + 3 habits.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.prosody_predictor import (
    DURATION_CLASSES,
    DURATION_EDGES,
    LOG_DURATION,
    LOG_F0,
    N_HABITS,
    VOICING,
    duration_classes,
)
from prosody.batches import N_FOLDS, ProsodyUtterance, Statistics, fold_of, normalise_f0

# The corpus' average weighs as much as this many occurrences of the unit. Measured with each occurrence left out:
# durations are foretold best at 4 of 1, 2, 4, … 32.
CORPUS_WEIGHT = 4.0


def cross_habits(
    utterances: Sequence[ProsodyUtterance], statistics: Statistics, n_units: int, rows: Iterable[int] | None = None
) -> np.ndarray:
    """(N_FOLDS + 1, n_units, H) float32: of all utterances, then of those outside each fold (``fold_of``).

    rows: of the utterances that are counted; by default all.
    """
    parts = [_no_counts(n_units) for _ in range(N_FOLDS)]
    for row in range(len(utterances)) if rows is None else rows:
        _count(utterances[row], statistics, parts[fold_of(row) - 1])
    total = [sum(column) for column in zip(*parts)]
    kept = [total, *([whole - own for whole, own in zip(total, part)] for part in parts)]
    return np.stack([_average(*sums) for sums in kept]).astype(np.float32)


class _Counts(NamedTuple):
    """Of each unit, (n_units,) each: frames, voiced frames, sum of their log F0, sum of log durations; and occurrences
    by duration class (n_units, K)."""

    frames: np.ndarray
    voiced: np.ndarray
    log_f0: np.ndarray
    log_durations: np.ndarray
    classes: np.ndarray


def _no_counts(n_units: int) -> _Counts:
    return _Counts(*np.zeros((4, n_units)), np.zeros((n_units, len(DURATION_EDGES))))


def _count(utterance: ProsodyUtterance, statistics: Statistics, counts: _Counts) -> None:
    """Add an utterance to ``counts``."""
    units, durations, f0 = utterance.units, utterance.durations, utterance.f0
    by_frame = np.repeat(units, durations)
    np.add.at(counts.frames, by_frame, 1)
    np.add.at(counts.voiced, by_frame, f0 > 0)
    np.add.at(counts.log_f0, by_frame, normalise_f0(f0, statistics, utterance.speaker))
    np.add.at(counts.log_durations, units, np.log(durations))
    np.add.at(counts.classes, (units, duration_classes(torch.from_numpy(durations)).numpy()), 1)


def _average(
    frames: np.ndarray, voiced: np.ndarray, log_f0: np.ndarray, log_durations: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """(n_units, H) from ``_count``; what is rare lies near the corpus' average."""
    occurrences = classes.sum(axis=1)
    habits = np.zeros((len(frames), N_HABITS))
    share = _shrink(voiced, frames, 0.5).clip(1e-3, 1 - 1e-3)
    habits[:, VOICING] = np.log(share / (1 - share))
    habits[:, LOG_F0] = log_f0 / (voiced + CORPUS_WEIGHT)
    habits[:, LOG_DURATION] = _shrink(log_durations, occurrences, 0.0)
    # A class that never occurs counts as a hundredth of an occurrence, as in ``duration_statistics``.
    usual = classes.sum(axis=0).clip(0.01) / max(occurrences.sum(), 1.0)
    shares = (classes + CORPUS_WEIGHT * usual) / (occurrences[:, None] + CORPUS_WEIGHT)
    habits[:, DURATION_CLASSES:] = np.log(shares / usual)
    return habits


def _shrink(sums: np.ndarray, counts: np.ndarray, otherwise: float) -> np.ndarray:
    """Means by unit, drawn to the mean of all; ``otherwise`` where there is none."""
    mean = sums.sum() / counts.sum() if counts.sum() else otherwise
    return (sums + CORPUS_WEIGHT * mean) / (counts + CORPUS_WEIGHT)
