"""Searches an index in two passes: all of it by centroids, then the best places by their features.

The first pass looks up the distance of each frame's centroid to each frame of the query: 2 bytes a frame are read, and
no features (asymmetric distances: H. Jégou et al. 2011, "Product quantization for nearest neighbor search"). The second
one aligns the best blocks exactly, and blocks drawn at random, which say what costs this query has where it is not.
Axes: Q frames of a query, F frames, P features, K centroids, B blocks.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from spoken_search.dtw import FAR, count_blocks, match_ends, scan_segments
from spoken_search.index import Index

BLOCK_FRAMES = 50  # a second: of each, the best match that ends in it is kept
N_CANDIDATES = 1000  # blocks that are aligned exactly
N_BACKGROUND = 500  # blocks drawn at random
END_SLACK = 5  # frames by which ends of several queries may differ
LONGEST_STRETCH = 2  # a match has at most so many frames for one of the query


class Place(NamedTuple):
    """A match in the index."""

    segment: int
    start: int  # frames, in the segment
    stop: int
    cost: float


class Found(NamedTuple):
    """The matches, best first and not overlapping, and the costs at places drawn at random."""

    places: list[Place]
    background: np.ndarray  # (B,) float32


class _Blocks(NamedTuple):
    firsts: np.ndarray  # (U + 1,) of each segment
    costs: np.ndarray  # (B,) of all queries together


def search_index(
    index: Index,
    queries: Sequence[np.ndarray],
    *,
    n_candidates: int = N_CANDIDATES,
    n_threads: int = 2,
    seed: int = 0,
) -> Found:
    """Where the word of the ``queries``, (Q, P) float32 of unit length each, is said.

    With several queries costs are means over them: each is aligned by itself.
    """
    blocks = _scan(index, queries, n_threads)
    possible = np.flatnonzero(blocks.costs < FAR / 1e6)
    kept = min(n_candidates, len(possible))
    best = possible[np.argpartition(blocks.costs[possible], kept - 1)[:kept]] if kept else possible
    drawn = np.random.default_rng(seed).permutation(possible)[:N_BACKGROUND]
    aligned = {block: _align(index, queries, blocks.firsts, int(block)) for block in np.union1d(best, drawn)}
    places = [place for block in best if (place := aligned[block])]
    background = [place.cost for block in drawn if (place := aligned[block])]
    return Found(drop_overlapping(places), np.array(background, np.float32))


def _scan(index: Index, queries: Sequence[np.ndarray], n_threads: int) -> _Blocks:
    """The first pass: segments are shared out between threads."""
    n_segments = len(index.bounds) - 1
    firsts = np.concatenate([[0], np.cumsum(count_blocks(index.bounds, BLOCK_FRAMES))])
    wanted = np.linspace(0, index.bounds[-1], n_threads + 1)
    edges = np.unique([0, *np.searchsorted(index.bounds, wanted[1:-1]), n_segments])
    total = np.zeros(int(firsts[-1]), np.float64)
    with ThreadPoolExecutor(n_threads) as pool:
        for query in queries:
            table = 1 - index.transform.centroids @ query.T

            def scan(first: int, last: int, table: np.ndarray = table) -> np.ndarray:
                start, stop = int(index.bounds[first]), int(index.bounds[last])
                bounds = index.bounds[first : last + 1] - start
                return scan_segments(table, np.asarray(index.codes[start:stop]), bounds, BLOCK_FRAMES)

            total += np.concatenate([*pool.map(scan, edges[:-1], edges[1:])])
    return _Blocks(firsts, (total / len(queries)).astype(np.float32))


def _align(index: Index, queries: Sequence[np.ndarray], firsts: np.ndarray, block: int) -> Place | None:
    """The best match that ends in a block, by features; None where there is too little speech."""
    segment = int(np.searchsorted(firsts, block, side="right")) - 1
    stop = (block - int(firsts[segment]) + 1) * BLOCK_FRAMES
    longest = max(map(len, queries))
    start = max(stop - BLOCK_FRAMES - LONGEST_STRETCH * longest, 0)
    n_frames = int(index.bounds[segment + 1] - index.bounds[segment])
    reach = min(stop + longest // 2, n_frames)  # a match that has begun here may end a little later
    offset = int(index.bounds[segment])
    frames = np.asarray(index.frames[offset + start : offset + reach], np.float32)
    return align_frames(frames, queries, segment=segment, offset=start)


def align_frames(
    frames: np.ndarray, queries: Sequence[np.ndarray], *, segment: int = 0, offset: int = 0
) -> Place | None:
    """The place in (F, P) ``frames``, ``offset`` frames into its segment, where all ``queries`` fit best on average.

    The average is over costs of matches that end at the same time, END_SLACK frames apart at most. The times are those
    of the query that fits best.
    """
    aligned = [match_ends(1 - frames @ query.T) for query in queries]
    reach = END_SLACK if len(queries) > 1 else 0
    costs = np.stack([_near_minimum(found, reach) for found, _ in aligned])
    mean = costs.mean(axis=0)
    middle = int(np.argmin(mean))
    if mean[middle] > FAR / 1e6:
        return None
    own, starts = aligned[int(np.argmin(costs[:, middle]))]
    first = max(middle - reach, 0)
    stop = first + int(np.argmin(own[first : middle + reach + 1]))
    return Place(segment, offset + int(starts[stop]), offset + stop + 1, float(mean[middle]))


def _near_minimum(costs: np.ndarray, reach: int) -> np.ndarray:
    """(F,) least cost within ``reach`` frames: two queries seldom end in the very same one."""
    padded = np.pad(costs, reach, constant_values=FAR)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)


def drop_overlapping(places: Sequence[Place]) -> list[Place]:
    """The places, cheapest first, without those that overlap a cheaper one."""
    kept: list[Place] = []
    taken: dict[int, list[Place]] = {}
    for place in sorted(places, key=lambda one: (one.cost, one.segment, one.start)):
        others = taken.setdefault(place.segment, [])
        if all(place.stop <= other.start or place.start >= other.stop for other in others):
            others.append(place)
            kept.append(place)
    return kept
