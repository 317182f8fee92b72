"""Where in long speech a short query is said, at least cost: dynamic time warping with both ends free in the speech.

Steps are those of H. Sakoe and S. Chiba (1978), "Dynamic programming algorithm optimization for spoken word
recognition", IEEE Trans. ASSP 26(1), in their asymmetric form with slope constraint P = 1: speech may be at most twice
as fast or half as fast as the query. Each frame of the query weighs 1 whatever the path, so that a cost divided by the
query's length is a mean distance, and costs of paths of different lengths compare. No step stays in a frame of the
speech, so that a column depends on earlier columns only, and the inner loop is computed several rows at a time.

Axes: Q frames of the query, F frames of speech, K centroids, U segments, B blocks.
"""

from typing import NamedTuple

import numpy as np

import numba

FAR, HALF = np.float32(1e30), np.float32(0.5)  # no path; a frame of two


class Match(NamedTuple):
    """Frames ``start`` to ``stop`` of some speech, and the mean distance of the query to them."""

    start: int
    stop: int
    cost: float


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "arcp"})
def _advance(near, before, twice, before_local, local):
    """Costs of all paths that end in this frame, into ``near`` (Q + 1,); [0] is the path that has not begun."""
    near[0] = 0.0
    near[1] = min(before[0] + local[0], twice[0] + HALF * (before_local[0] + local[0]))
    for row in range(2, len(local) + 1):
        straight = before[row - 1] + local[row - 1]
        slower = twice[row - 1] + HALF * (before_local[row - 1] + local[row - 1])
        faster = before[row - 2] + (local[row - 2] + local[row - 1])
        near[row] = min(straight, slower, faster)


@numba.njit(cache=True, nogil=True)
def _scan_segments(table, codes, bounds, block, costs):
    n, first_block = table.shape[1], 0
    near, before, twice = np.empty(n + 1, np.float32), np.empty(n + 1, np.float32), np.empty(n + 1, np.float32)
    for segment in range(len(bounds) - 1):
        before[:], twice[:] = FAR, FAR
        before[0] = 0.0
        local_before = table[0]
        for frame in range(bounds[segment], bounds[segment + 1]):
            local = table[codes[frame]]
            _advance(near, before, twice, local_before, local)
            place = first_block + (frame - bounds[segment]) // block
            costs[place] = min(costs[place], near[n] / n)
            near, before, twice, local_before = twice, near, before, local
        first_block += -(-(bounds[segment + 1] - bounds[segment]) // block)


def scan_segments(table: np.ndarray, codes: np.ndarray, bounds: np.ndarray, block: int) -> np.ndarray:
    """The least cost of a match that ends in each block of ``block`` frames: (B,) float32, FAR where none can.

    table: (K, Q) float32 distances of each centroid to each frame of the query. codes: (F,) unsigned, of all segments
    in a row. bounds: (U + 1,) their edges; no match crosses one. A segment's blocks follow from ``count_blocks``.
    """
    costs = np.full(int(count_blocks(bounds, block).sum()), FAR, np.float32)
    _scan_segments(np.ascontiguousarray(table, np.float32), codes, bounds.astype(np.int64), block, costs)
    return costs


def count_blocks(bounds: np.ndarray, block: int) -> np.ndarray:
    """(U,) blocks of each segment, the last one of a segment being shorter."""
    return -(-np.diff(bounds) // block)


@numba.njit(cache=True, nogil=True)
def _match_ends(distances):
    n_frames, n = distances.shape
    near, before, twice = np.empty(n + 1, np.float32), np.full(n + 1, FAR), np.full(n + 1, FAR)
    begun, begun_before, begun_twice = np.zeros(n + 1, np.int32), np.zeros(n + 1, np.int32), np.zeros(n + 1, np.int32)
    costs, starts = np.empty(n_frames, np.float32), np.empty(n_frames, np.int32)
    before[0] = 0.0
    for frame in range(n_frames):
        local, local_before = distances[frame], distances[max(frame - 1, 0)]
        near[0], begun[0] = 0.0, frame + 1
        for row in range(1, n + 1):
            best, start = before[row - 1] + local[row - 1], begun_before[row - 1]
            slower = twice[row - 1] + HALF * (local_before[row - 1] + local[row - 1])
            if slower < best:
                best, start = slower, begun_twice[row - 1]
            if row > 1:
                faster = before[row - 2] + local[row - 2] + local[row - 1]
                if faster < best:
                    best, start = faster, begun_before[row - 2]
            near[row], begun[row] = best, start
        costs[frame], starts[frame] = near[n] / n, begun[n]
        near, before, twice = twice, near, before
        begun, begun_before, begun_twice = begun_twice, begun, begun_before
    return costs, starts


def match_ends(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the best match that ends in each frame, cost (F,) float32 and first frame (F,) int32.

    distances: (F, Q). Where speech ends before a match can, the cost is above FAR / 2Q.
    """
    return _match_ends(np.ascontiguousarray(distances, np.float32))


def best_match(distances: np.ndarray) -> Match | None:
    """The cheapest match in (F, Q) distances; None where there is too little speech."""
    if not len(distances):
        return None
    costs, starts = match_ends(distances)
    stop = int(np.argmin(costs))
    if costs[stop] > 1e6:
        return None
    return Match(int(starts[stop]), stop + 1, float(costs[stop]))
