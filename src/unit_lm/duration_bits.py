"""What the timing of units costs, so that models with and without timing can be compared.

How often each unit lasts so many frames in the training split, smoothed towards how often any unit does, and that
towards a geometric distribution, which leaves no duration out. Axes: U deduplicated units, D durations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BACKOFF = 5.0  # as if so many runs of any unit were seen of each unit


class DurationCounts(NamedTuple):
    by_unit: np.ndarray  # (K, D + 1) counts of units lasting so many frames
    overall: np.ndarray  # (D + 1,) share of all runs; 0 for 0 frames
    tail: float  # share of the geometric distribution beyond what was counted
    stay: float  # probability that a unit goes on for another frame, in that distribution


def count_durations(utterances: Sequence[tuple[np.ndarray, np.ndarray]], n_units: int) -> DurationCounts:
    """From the units (U,) and durations (U,) frames of each utterance."""
    units, durations = (np.concatenate(parts) for parts in zip(*utterances))
    longest = int(durations.max())
    by_unit = np.bincount(units * (longest + 1) + durations, minlength=n_units * (longest + 1))
    by_unit = by_unit.reshape(n_units, longest + 1)
    stay = 1 - len(durations) / durations.sum()
    geometric = np.array([0.0, *((1 - stay) * stay ** np.arange(longest))])
    total = len(durations) + 1.0
    return DurationCounts(by_unit, (by_unit.sum(0) + geometric) / total, 1.0 / total, stay)


def duration_bits(counts: DurationCounts, units: np.ndarray, durations: np.ndarray) -> float:
    """Bits of the durations (U,) of units (U,), each given its unit alone."""
    longest = len(counts.overall) - 1
    known = np.minimum(durations, longest)
    beyond = counts.tail * (1 - counts.stay) * counts.stay ** (durations - 1.0)
    overall = np.where(durations <= longest, counts.overall[known], beyond)
    seen = np.where(durations <= longest, counts.by_unit[units, known], 0)
    share = (seen + BACKOFF * overall) / (counts.by_unit.sum(1)[units] + BACKOFF)
    return float(-np.log2(share).sum())
