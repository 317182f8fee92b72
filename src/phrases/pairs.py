"""Pairs of places that say the same: seeds, alignment of units, features, and a threshold that a null says.

The null is the same search against recordings whose stretches of a fifth of a second have changed places. There no
longer word comes back, so whatever it finds is false; as many false pairs are expected in the true search (decoys: J.
Elias and S. Gygi 2007, "Target-decoy search strategy", Nature Methods 4). Axes: F frames, P features, L pairs.
"""

from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from phrases.local_alignment import align_windows
from phrases.runs import Runs, group_centroids, make_runs, shuffle_frames, similarity_table
from phrases.seeds import find_windows
from spoken_search.dtw import FAR, match_ends
from spoken_search.index import Index

SLACK_FRAMES = 3  # by which the features may move the other side's ends
LEAST_SCORE = 3.0  # of an alignment of units that is looked at again


class Pairs(NamedTuple):
    """L pairs of places; frames are those of the segment."""

    segments: np.ndarray  # (L, 2)
    spans: np.ndarray  # (L, 4): start and stop of the one, start and stop of the other
    costs: np.ndarray  # (L,) mean cosine distance of aligned frames


class _Rules(NamedTuple):
    """What is alike among K centroids, and how long it must last."""

    table: np.ndarray  # (K, K) float32, over 0 for sounds that match
    classes: np.ndarray  # (K,)
    least: int  # frames


class FoundPairs(NamedTuple):
    """What is above the threshold."""

    pairs: Pairs
    scores: np.ndarray  # (L,)
    threshold: float | None  # None: nothing is above chance
    false_share: float  # expected among the pairs


def find_pairs(
    index: Index, pauses: np.ndarray, *, min_seconds: float, max_false_share: float, seed: int = 0
) -> FoundPairs:
    """All pairs of places of ``min_seconds`` and more, of which ``max_false_share`` are expected to be false."""
    codes, bounds = np.asarray(index.codes), index.bounds
    forward = make_runs(codes, bounds, pauses)
    if not len(forward.units):
        return FoundPairs(_no_pairs(), np.zeros(0), None, 0.0)
    order = shuffle_frames(forward, bounds, seed)
    shuffled = make_runs(codes[order], bounds, pauses)
    centroids = index.transform.centroids
    least = round(min_seconds * UNIT_RATE)
    rules = _Rules(similarity_table(centroids, forward.units), group_centroids(centroids, seed), least)
    found = _compare(index, forward, forward, rules)
    null = _compare(index, forward, shuffled, rules, order)
    return choose_pairs(found, null, max_false_share)


def _no_pairs() -> Pairs:
    return Pairs(np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64), np.zeros(0, np.float32))


def _compare(index: Index, one: Runs, other: Runs, rules: _Rules, order: np.ndarray | None = None) -> Pairs:
    """Pairs that last long enough on both sides, each with the cost of its features.

    order: (F,) of the index's frames, in which the other side has them; None: as they are.
    """
    itself = other is one
    windows = find_windows(one, other, rules.classes, itself=itself)
    scores, places = align_windows(one.units, other.units, windows, rules.table)
    places = np.unique(places[scores >= LEAST_SCORE], axis=0)
    segments = np.stack([one.segments[places[:, 0]], other.segments[places[:, 2]]], axis=1)
    spans = np.stack([*_edges(one, places[:, :2]), *_edges(other, places[:, 2:])], axis=1)
    long_enough = (np.diff(spans[:, :2]) >= rules.least)[:, 0] & (np.diff(spans[:, 2:]) >= rules.least)[:, 0]
    apart = (segments[:, 0] != segments[:, 1]) | (spans[:, 1] <= spans[:, 2])
    kept = long_enough & apart
    return _measure(index, segments[kept], spans[kept], order)


def _edges(side: Runs, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First frames, and last + 1, of (L, 2) first and last + 1 units."""
    return side.starts[places[:, 0]].astype(np.int64), side.stops[places[:, 1] - 1].astype(np.int64)


def _measure(index: Index, segments: np.ndarray, spans: np.ndarray, order: np.ndarray | None) -> Pairs:
    """The costs by features; the other side's ends move to where they fit best."""
    spans, costs = spans.copy(), np.full(len(spans), FAR, np.float32)
    for number, ((a, b), (start, stop, first, last)) in enumerate(zip(segments, spans)):
        n_frames = int(index.bounds[b + 1] - index.bounds[b])
        lowest, highest = max(first - SLACK_FRAMES, 0), min(last + SLACK_FRAMES, n_frames)
        query = np.asarray(index.frames[index.bounds[a] + start : index.bounds[a] + stop], np.float32)
        place = slice(index.bounds[b] + lowest, index.bounds[b] + highest)
        speech = np.asarray(index.frames[place if order is None else order[place]], np.float32)
        found, begun = match_ends(1 - speech @ query.T)
        best = int(np.argmin(found))
        costs[number] = found[best]
        spans[number, 2:] = lowest + begun[best], lowest + best + 1
    kept = costs < FAR / 1e6
    return Pairs(segments[kept], spans[kept], costs[kept])


def choose_pairs(found: Pairs, null: Pairs, max_false_share: float) -> FoundPairs:
    """The pairs above the lowest score at which the null says that few enough are false.

    A pair's score is what its distance lies below the middle one of the null, summed over its frames.
    """
    middle = float(np.median(null.costs)) if len(null.costs) else float(np.median([*found.costs, 1.0]))

    def score(pairs: Pairs) -> np.ndarray:
        return (middle - pairs.costs) * (pairs.spans[:, 1] - pairs.spans[:, 0])

    scores, false_scores = score(found), np.sort(score(null))
    order = np.argsort(-scores, kind="stable")
    n_false = len(false_scores) - np.searchsorted(false_scores, scores[order], side="left")
    shares = n_false / np.arange(1, len(order) + 1)
    good = np.flatnonzero((shares <= max_false_share) & (scores[order] > 0))
    kept = order[: good[-1] + 1] if len(good) else order[:0]
    share = float(shares[good[-1]]) if len(good) else 0.0
    threshold = float(scores[kept[-1]]) if len(kept) else None
    return FoundPairs(Pairs(*(values[kept] for values in found)), scores[kept], threshold, share)
