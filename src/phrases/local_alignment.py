"""The stretches of two strings of units that are most alike: local alignment with soft similarities.

T. Smith and M. Waterman (1981), "Identification of common molecular subsequences", J. Mol. Biol. 147; on units of
speech: B. van Niekerk et al. (2024), "Spoken-term discovery using discrete speech units". Axes: W windows.
"""

import numpy as np

import numba

GAP = np.float32(0.6)  # what a unit without a partner costs; the same sound earns 1


@numba.njit(cache=True, nogil=True)
def _align(one, other, table, gap):
    """Score, first and last + 1 unit in ``one``, the same in ``other``, of the best local alignment."""
    n, best, place = len(other), np.float32(0), (0, 0, 0, 0)
    scores, tops, lefts = np.zeros(n + 1, np.float32), np.zeros(n + 1, np.int64), np.arange(n + 1)
    for row in range(len(one)):
        corner, corner_top, corner_left = scores[0], row, 0
        tops[0], lefts[0] = row + 1, 0
        for column in range(1, n + 1):
            score, top, left = corner + table[one[row], other[column - 1]], corner_top, corner_left
            if scores[column] - gap > score:
                score, top, left = scores[column] - gap, tops[column], lefts[column]
            if scores[column - 1] - gap > score:
                score, top, left = scores[column - 1] - gap, tops[column - 1], lefts[column - 1]
            if score <= 0:
                score, top, left = np.float32(0), row + 1, column
            corner, corner_top, corner_left = scores[column], tops[column], lefts[column]
            scores[column], tops[column], lefts[column] = score, top, left
            if score > best:
                best, place = score, (top, row + 1, left, column)
    return best, place


@numba.njit(cache=True, nogil=True)
def _align_all(one, other, windows, table, gap):
    scores, places = np.zeros(len(windows), np.float32), np.zeros((len(windows), 4), np.int64)
    for number in range(len(windows)):
        a, b, c, d = windows[number]
        score, (top, bottom, left, right) = _align(one[a:b], other[c:d], table, gap)
        scores[number] = score
        places[number] = np.array((a + top, a + bottom, c + left, c + right))
    return scores, places


def align_windows(
    one: np.ndarray, other: np.ndarray, windows: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(W,) float32 scores, and (W, 4) first and last + 1 unit on both sides, of the best alignment in each window.

    one, other: (N,), (M,) units. windows: (W, 4) as the places. table: (K, K) float32, over 0 for sounds that match.
    """
    return _align_all(one.astype(np.int64), other.astype(np.int64), windows, table, GAP)
