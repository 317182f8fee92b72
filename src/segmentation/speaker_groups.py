"""Recordings grouped by who speaks, where nobody has written it down; and how well that agrees with who has.

Axes: R recordings, D values of a speaker vector.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sklearn.cluster import AgglomerativeClustering

# Cosine distance of the means of two groups that are still one speaker; see docs/results/speakers.md.
LARGEST_DISTANCE = 0.3
MOST_CLUSTERED = 4000  # recordings: their distances fill 128 MB; the rest joins the nearest group


class Agreement(NamedTuple):
    """How groups agree with the true speakers, weighted by seconds (as in speaker diarisation)."""

    purity: float  # share of the time in a group that is its most frequent speaker's
    coverage: float  # share of a speaker's time that lies in the group that holds most of it
    n_groups: int
    n_speakers: int


def group_vectors(
    vectors: np.ndarray, *, n_speakers: int | None = None, largest_distance: float = LARGEST_DISTANCE, seed: int = 0
) -> np.ndarray:
    """Groups of (R, D) vectors of length 1: (R,) int64 from 0 on, by average linkage of cosine distances.

    n_speakers: how many groups; else two groups stay apart where they are farther than ``largest_distance``.
    """
    chosen = np.arange(len(vectors))
    if len(vectors) > MOST_CLUSTERED:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), MOST_CLUSTERED, replace=False))
    if len(chosen) < 2:
        return np.zeros(len(vectors), np.int64)
    how = {"n_clusters": min(n_speakers, len(chosen))} if n_speakers else {"n_clusters": None}
    how |= {} if n_speakers else {"distance_threshold": largest_distance}
    found = AgglomerativeClustering(metric="cosine", linkage="average", **how).fit_predict(vectors[chosen])
    if len(chosen) == len(vectors):
        return found.astype(np.int64)
    means = np.stack([vectors[chosen[found == group]].mean(axis=0) for group in range(found.max() + 1)])
    groups = nearest_group(vectors, means)
    groups[chosen] = found
    return groups


def nearest_group(vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(R, D) and (G, D) -> (R,) int64, the group whose mean points most in the vector's direction."""
    directions = means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-9)
    return (vectors @ directions.T).argmax(axis=1)


def join_small_groups(
    groups: np.ndarray, vectors: np.ndarray, seconds: np.ndarray, fewest_seconds: float
) -> np.ndarray:
    """Groups shorter than ``fewest_seconds`` join the nearest longer one; all stay where none is longer."""
    totals = np.bincount(groups, weights=seconds)
    large = np.flatnonzero(totals >= fewest_seconds)
    if not len(large):
        return groups
    means = np.stack([vectors[groups == group].mean(axis=0) for group in large])
    joined = large[nearest_group(vectors, means)]
    return np.where(totals[groups] >= fewest_seconds, groups, joined)


def name_groups(groups: np.ndarray, seconds: np.ndarray) -> list[str]:
    """speaker_1 for the group with the most seconds, and so on: one name a recording."""
    totals = np.bincount(groups, weights=seconds)
    rank = {group: place for place, group in enumerate(np.argsort(-totals, kind="stable"), 1)}
    width = len(str(len(np.unique(groups))))
    return [f"speaker_{rank[group]:0{width}d}" for group in groups]


def fit_to_group(groups: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(R,) float: the cosine of each vector and the mean of its group; the lowest ones are the doubtful ones."""
    fits = np.zeros(len(vectors))
    for group in np.unique(groups):
        mean = vectors[groups == group].mean(axis=0)
        fits[groups == group] = vectors[groups == group] @ mean / max(np.linalg.norm(mean), 1e-9)
    return fits


def compare_speakers(found: Mapping[str, str], true: Mapping[str, str], seconds: Mapping[str, float]) -> Agreement:
    """Purity and coverage over the recordings that both name; by source."""
    sources = [source for source in found if source in true]
    groups, speakers = (_numbers([names[source] for source in sources]) for names in (found, true))
    table = np.zeros((groups.max(initial=-1) + 1, speakers.max(initial=-1) + 1))
    np.add.at(table, (groups, speakers), [seconds[source] for source in sources])
    total = max(table.sum(), 1e-9)
    purity, coverage = (table.max(axis=axis, initial=0).sum() / total for axis in (1, 0))
    return Agreement(float(purity), float(coverage), *table.shape)


def _numbers(names: Sequence[str]) -> np.ndarray:
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], np.int64)
