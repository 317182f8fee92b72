"""Bootstrap 95 % intervals over utterances, for means, for ratios of sums, and for paired differences.

B. Efron and R. Tibshirani (1993), "An Introduction to the Bootstrap", percentile intervals (chapter 13): utterances are
drawn with replacement, the statistic is computed on each draw, and the 2.5 % and 97.5 % quantiles are the interval. A
mean is the ratio of a sum to a count, so one function serves all. Axes: U utterances, R resamples, K columns.
"""

from collections.abc import Sequence

import numpy as np

N_RESAMPLES = 5_000
COVERAGE = 0.95
SEED = 0
_DRAWN_AT_ONCE = 1 << 20  # utterances drawn in one block: bounds the memory


def bootstrap_mean(values: Sequence[float], *, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> dict:
    """Mean over utterances with its interval: {"mean", "low", "high", "n"}; see ``bootstrap_ratio``."""
    return bootstrap_ratio(values, np.ones(len(values)), n_resamples=n_resamples, seed=seed)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], *, n_resamples: int = N_RESAMPLES, seed: int = SEED
) -> dict:
    """Sum of (U,) ``numerators`` over sum of (U,) ``denominators`` (corpus-level CER: errors over characters).

    Returns {"mean": the ratio, "low", "high", "n": U}. With one utterance the interval has no width.
    Raises ValueError for no utterance, unequal lengths, non-finite values, or denominators that are not all positive.
    """
    columns = _columns(numerators, denominators)
    sums = _resampled_sums(columns, n_resamples, seed)
    totals = columns.sum(0)
    return _interval(totals[0] / totals[1], sums[:, 0] / sums[:, 1], len(columns))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, n_resamples: int = N_RESAMPLES, seed: int = SEED
) -> dict:
    """Mean of ``first`` minus mean of ``second`` over the same (U,) utterances, in the same order.

    Both systems are judged on the same draw of utterances, so that what makes an utterance hard for both cancels.
    Returns {"mean", "low", "high", "n"}; an interval that leaves out 0 is a difference at the 5 % level.
    """
    ones = np.ones(len(first))
    return paired_ratio_difference((first, ones), (second, ones), n_resamples=n_resamples, seed=seed)


def paired_ratio_difference(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> dict:
    """Ratio of sums of ``first`` minus that of ``second``, each (numerators (U,), denominators (U,)), paired."""
    columns = np.hstack([_columns(*first), _columns(*second)])
    sums = _resampled_sums(columns, n_resamples, seed)
    totals = columns.sum(0)
    return _interval(
        totals[0] / totals[1] - totals[2] / totals[3],
        sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3],
        len(columns),
    )


def _columns(numerators: Sequence[float], denominators: Sequence[float]) -> np.ndarray:
    if len(numerators) != len(denominators) or len(numerators) == 0:
        raise ValueError(
            f"expected as many numerators as denominators and some, found {len(numerators)} and {len(denominators)}"
        )
    columns = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)
    if not np.isfinite(columns).all() or (columns[:, 1] <= 0).any():
        raise ValueError("expected finite values and positive denominators; leave undefined utterances out")
    return columns


def _resampled_sums(columns: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """(U, K) -> (R, K): column sums over U utterances drawn with replacement, R times."""
    n, rng = len(columns), np.random.default_rng(seed)
    block = max(1, _DRAWN_AT_ONCE // n)
    sums = [
        columns[rng.integers(n, size=(min(block, n_resamples - done), n))].sum(1)
        for done in range(0, n_resamples, block)
    ]
    return np.concatenate(sums)


def _interval(value: float, resampled: np.ndarray, n: int) -> dict:
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return {"mean": float(value), "low": float(low), "high": float(high), "n": n}
