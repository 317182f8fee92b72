"""Intervals of what several people said of several sentences: they speak of other people and of other sentences.

Variances of the sums of each listener and of each utterance are added, and that of single answers, which both hold, is
taken off once. C. Cameron, J. Gelbach and D. Miller (2011), "Robust inference with multiway clustering", Journal of
Business & Economic Statistics 29(2).
Axes: J judgements.
"""

import math
from collections.abc import Sequence

import numpy as np

from scipy.stats import t as student

from evaluation.bootstrap import COVERAGE, Interval

SHARE, GRADE = (0.0, 1.0), (1.0, 5.0)  # what values can be
ROUNDING = 1 / 12  # the variance that rounding to whole grades brings
FEW = 4.0  # answers that differ, from which on the variance tells more than the number of listeners


def two_way_interval(
    values: Sequence[float], listeners: Sequence[str], items: Sequence[str], bounds: tuple[float, float]
) -> Interval:
    """Mean of (J,) ``values``, each within ``bounds``, with its interval over listeners and items; n counts judgements.

    Values of 0 to 1 have Wilson's interval at the number of independent answers that the variance tells of. Where
    hardly anybody differs it tells little, and that number is near the one of listeners. Grades spread by at least what
    rounding does. One judgement alone may be anything.
    """
    if not len(values):
        raise ValueError("expected judgements, found none")
    observed, n = np.asarray(values, np.float64), len(values)
    mean, counts = float(observed.mean()), [count for count in (len(set(listeners)), len(set(items))) if count > 1]
    if not counts:
        return Interval(mean, *bounds, n)
    variance = _two_way_variance(observed - mean, listeners, items)
    reach = float(student.ppf(0.5 + COVERAGE / 2, sum(counts) - len(counts)))
    n_people = counts[0]  # items, where one listened
    if bounds == SHARE:
        low, high = _wilson(mean, _independent_answers(mean, variance, n, n_people), reach)
        return Interval(mean, low, high, n)
    rounding = ROUNDING if bounds == GRADE else 2 * ROUNDING
    reach *= math.sqrt(max(variance, rounding / n_people))
    return Interval(mean, max(bounds[0], mean - reach), min(bounds[1], mean + reach), n)


def _two_way_variance(residuals: np.ndarray, listeners: Sequence[str], items: Sequence[str]) -> float:
    groupings = [names for names in (listeners, items) if len(set(names)) > 1]
    by_group = [_variance(residuals, names) for names in groupings]
    if len(by_group) == 1:
        return by_group[0]
    # One alone holds all of the spread: nothing is counted twice.
    return max([sum(by_group) - _variance(residuals, range(len(residuals))), *by_group])


def _variance(residuals: np.ndarray, names: Sequence[object]) -> float:
    """Of the mean of (J,) values, whose ``residuals`` go together within the groups that (J,) ``names`` make."""
    _, places = np.unique(np.asarray(names), return_inverse=True)
    sums = np.bincount(places, weights=residuals)
    return float(len(sums) / (len(sums) - 1) * np.square(sums).sum() / len(residuals) ** 2)


def _independent_answers(share: float, variance: float, n: int, n_people: int) -> float:
    """How many independent answers would vary as much; drawn towards ``n_people`` where few answers differ."""
    told = min(float(n), share * (1 - share) / variance) if variance > 0 else float(n_people)
    n_differing = n * min(share, 1 - share)
    return (FEW * n_people + n_differing * told) / (FEW + n_differing)


def _wilson(share: float, n: float, reach: float) -> tuple[float, float]:
    """E. Wilson (1927), "Probable inference, the law of succession, and statistical inference"."""
    square = reach**2 / n
    middle = (share + square / 2) / (1 + square)
    half = reach / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)
