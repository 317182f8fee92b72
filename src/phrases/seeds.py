"""Which places of two corpora may say the same: they share rare strings of sounds, twice, at about the same distance.

Two hits on one diagonal, as in S. Altschul et al. (1997), "Gapped BLAST and PSI-BLAST": all pairs are never compared.
Axes: N units, M units of the other side, G strings, W windows.
"""

import numpy as np

from phrases.runs import Runs

MAX_SEEDS = 2_000_000  # pairs of places with the same string; longer strings where there would be more
STRING_LENGTHS = range(3, 9)  # classes of sounds
DIAGONAL_FRAMES = 20  # two hits count together where their distances differ by less
REACH_UNITS = 20  # on either side of the hits


def find_windows(one: Runs, other: Runs, classes: np.ndarray, *, itself: bool) -> np.ndarray:
    """(W, 4) int64 windows: first and last + 1 unit in ``one``, the same in ``other``.

    classes: (K,) of centroids. itself: both are the same corpus, so that a place is not compared with itself. Either
    way, each pair of segments is looked at once.
    """
    for n in STRING_LENGTHS:
        strings = [_strings(side, classes, n) for side in (one, other)]
        seeds = _shared(*strings)
        if seeds is not None:
            break
    else:
        return np.zeros((0, 4), np.int64)
    left, right = seeds
    owners = one.segments[left], other.segments[right]
    kept = owners[0] < owners[1]
    if itself:
        kept |= (owners[0] == owners[1]) & (one.stops[left] <= other.starts[right])
    return _two_hits(one, other, left[kept], right[kept])


def _strings(side: Runs, classes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(G,) numbers of strings of ``n`` classes, deduplicated, within runs; (G,) units where they begin."""
    found = classes[side.units]
    changed = np.ones(len(found), bool)
    changed[1:] = (found[1:] != found[:-1]) | (side.runs[1:] != side.runs[:-1])
    places = np.flatnonzero(changed)
    if len(places) < n:
        return np.zeros(0, np.int64), places[:0]
    numbers = np.zeros(len(places) - n + 1, np.int64)
    for step in range(n):
        numbers = numbers * (int(classes.max()) + 1) + found[places[step : len(places) - n + 1 + step]]
    whole = side.runs[places[: len(numbers)]] == side.runs[places[n - 1 :]]
    return numbers[whole], places[: len(numbers)][whole]


def _shared(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """All pairs of units where the same string begins; None where they are too many."""
    order = np.argsort(other[0], kind="stable")
    known, places = other[0][order], other[1][order]
    first, last = (np.searchsorted(known, one[0], side=side) for side in ("left", "right"))
    counts = last - first
    if counts.sum() > 2 * MAX_SEEDS:
        return None
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(one[1], counts), places[np.repeat(first, counts) + offsets]


def _two_hits(one: Runs, other: Runs, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Windows around seeds of two runs that lie on about the same diagonal."""
    windows = []
    diagonals = one.starts[left].astype(np.int64) - other.starts[right] + 10**7
    pairs = one.runs[left].astype(np.int64) * (int(other.runs.max(initial=0)) + 1) + other.runs[right]
    for shift in (0, DIAGONAL_FRAMES // 2):
        bins = (diagonals + shift) // DIAGONAL_FRAMES
        order = np.lexsort((left, bins, pairs))
        edges = np.ones(len(order), bool)
        edges[1:] = (np.diff(pairs[order]) != 0) | (np.diff(bins[order]) != 0)
        edges[1:] |= np.diff(left[order]) > 2 * REACH_UNITS
        firsts = np.flatnonzero(edges)
        if not len(firsts):
            continue
        counts = np.diff(np.append(firsts, len(order)))
        spans = []
        for side in (left[order], right[order]):
            spans += [np.minimum.reduceat(side, firsts), np.maximum.reduceat(side, firsts) + 1]
        windows.append(np.stack(spans, axis=1)[counts > 1])
    found = np.unique(np.concatenate(windows), axis=0) if windows else np.zeros((0, 4), np.int64)
    return _widen(found, one, other)


def _widen(windows: np.ndarray, one: Runs, other: Runs) -> np.ndarray:
    """REACH_UNITS more on each side, as far as the run goes."""
    wide = windows.copy()
    for column, side in ((0, one), (2, other)):
        edges = np.searchsorted(side.runs, np.arange(int(side.runs.max(initial=-1)) + 2))
        runs = side.runs[windows[:, column]]
        wide[:, column] = np.maximum(windows[:, column] - REACH_UNITS, edges[runs])
        wide[:, column + 1] = np.minimum(windows[:, column + 1] + REACH_UNITS, edges[runs + 1])
    return wide
