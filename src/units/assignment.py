"""Which centroid each frame belongs to: the nearest, or the best path where every change of unit costs something.

The path is that of Kamper and van Niekerk (2021) and Visser and Kamper (2025): least sum of squared distances plus a
penalty a change of unit, found exactly by dynamic programming. Axes: F frames, D features, K units.
"""

from collections.abc import Iterator

import numpy as np

ASSIGN_BLOCK = 4096  # frames


def assign(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of the nearest centroid (Euclidean) of each row: (F, D), (K, D) -> (F,) int64."""
    found = [np.argmin(block, axis=1) for block in _distance_blocks(features, centroids, ASSIGN_BLOCK)]
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def _distance_blocks(features: np.ndarray, centroids: np.ndarray, n_frames: int) -> Iterator[np.ndarray]:
    """Blocks (n_frames, K) of half the squared distances, less what is the same for every unit of a frame."""
    half_norms = 0.5 * np.square(centroids).sum(axis=1)
    for start in range(0, len(features), n_frames):
        yield half_norms - features[start : start + n_frames] @ centroids.T


def neighbour_distance(centroids: np.ndarray) -> float:
    """The median over units of the squared distance to the nearest other one: (K, D) -> 0 where K is 1.

    The scale of the penalty. It belongs to the clusters alone, and features in which no two centroids differ leave it
    as it is: one penalty means the same for 39 cepstra and for 1024 hidden states.
    """
    if len(centroids) < 2:
        return 0.0
    points = np.asarray(centroids, np.float64)
    norms = np.square(points).sum(axis=1)
    squared = norms[:, None] + norms - 2 * points @ points.T
    np.fill_diagonal(squared, np.inf)
    return float(np.median(squared.min(axis=1).clip(min=0)))


def assign_smoothly(
    features: np.ndarray, centroids: np.ndarray, switch_cost: float, *, block_frames: int = ASSIGN_BLOCK
) -> np.ndarray:
    """The units with the least sum of squared distances and ``switch_cost`` a change: (F, D), (K, D) -> (F,) int64.

    Exact, in O(F K) time. Beside a block of distances it keeps O(F + K) numbers: the best unit of each frame, and where
    its run began. Blocks change nothing. A cost of 0 gives what ``assign`` gives.
    """
    best, began = np.empty(len(features), np.int64), np.empty(len(features), np.int64)
    costs, starts = np.zeros(len(centroids), np.float32), np.zeros(len(centroids), np.int64)
    changes, half_cost, least, frame = np.empty(len(centroids), bool), np.float32(switch_cost / 2), np.float32(0), 0
    for block in _distance_blocks(features, centroids, block_frames):
        for distances in block:
            # costs: of the best path to here that ends in each unit, less those of the best one of all.
            costs -= least
            # Coming from the best unit of the frame before is cheaper than having stayed: a new run begins.
            np.greater(costs, half_cost, out=changes)
            starts[changes] = frame
            np.minimum(costs, half_cost, out=costs)
            costs += distances
            unit = costs.argmin()
            least = costs[unit]
            best[frame], began[frame] = unit, starts[unit]
            frame += 1
    return _follow_back(best, began)


def _follow_back(best: np.ndarray, began: np.ndarray) -> np.ndarray:
    """(F,) units of the best path: its last run is that of the last frame's best unit, and so on to the first."""
    units, stop = np.empty(len(best), np.int64), len(best)
    while stop > 0:
        start = began[stop - 1]
        units[start:stop] = best[stop - 1]
        stop = start
    return units
