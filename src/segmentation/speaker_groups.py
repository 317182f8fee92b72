"""Recordings grouped by who speaks, where nobody has written it down; and how well that agrees with who has.

Axes: R recordings, D values of a speaker vector, G groups.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import cosine_distances

N_DIRECTIONS = 20  # in which voices of one corpus differ most; the others are mostly noise
LEAST_SILHOUETTE = 0.4  # of several speakers; one alone reached .35, two and more at least .47
MOST_SPEAKERS = 20
MOST_CLUSTERED = 4000  # recordings: their distances fill 128 MB; the rest joins the nearest group


class Agreement(NamedTuple):
    """How groups agree with the true speakers, weighted by seconds (as in speaker diarisation)."""

    purity: float  # share of the time in a group that is its most frequent speaker's
    coverage: float  # share of a speaker's time that lies in the group that holds most of it
    n_groups: int
    n_speakers: int


def group_vectors(
    vectors: np.ndarray, *, n_speakers: int | None = None, most_speakers: int = MOST_SPEAKERS, seed: int = 0
) -> np.ndarray:
    """Groups of (R, D) vectors: (R,) int64 from 0 on, by Ward's method on where the corpus's voices differ.

    n_speakers: how many groups; else the number, up to ``most_speakers``, that the silhouette (Rousseeuw 1987) says.
    """
    places = spread_out(vectors)
    chosen = np.arange(len(vectors))
    if len(vectors) > MOST_CLUSTERED:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), MOST_CLUSTERED, replace=False))
    if len(chosen) < 3:
        return np.arange(len(vectors)) if n_speakers and n_speakers > 1 else np.zeros(len(vectors), np.int64)
    tree = linkage(pdist(places[chosen]), "ward")
    found = cut_tree(tree, n_speakers) if n_speakers else choose_cut(tree, places[chosen], most_speakers)
    if len(chosen) == len(vectors):
        return found
    means = np.stack([places[chosen[found == group]].mean(axis=0) for group in range(found.max() + 1)])
    groups = nearest_group(places, means)
    groups[chosen] = found
    return groups


def spread_out(vectors: np.ndarray) -> np.ndarray:
    """(R, D) vectors as seen from their mean, in their 20 main directions: (R, up to 20) of length 1.

    Whatever all recordings share, such as a language or a microphone, then tells nobody from another.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    places = centred @ directions[:N_DIRECTIONS].T
    return places / np.linalg.norm(places, axis=1, keepdims=True).clip(1e-9)


def cut_tree(tree: np.ndarray, n_groups: int) -> np.ndarray:
    """(R,) int64 groups from 0 on."""
    return fcluster(tree, n_groups, "maxclust").astype(np.int64) - 1


def choose_cut(tree: np.ndarray, places: np.ndarray, most: int) -> np.ndarray:
    """The groups that are best apart; a single one where none are.

    They are rather too many than too few: two names of one person are easier to correct than two people of one name.
    """
    distances = cosine_distances(places)
    np.fill_diagonal(distances, 0.0)
    cuts = [cut_tree(tree, n_groups) for n_groups in range(2, min(most, len(places) - 1) + 1)]
    cuts = [cut for cut in cuts if 1 < cut.max() + 1 < len(places)]
    apart = [silhouette_score(distances, cut, metric="precomputed") for cut in cuts]
    if max(apart, default=0.0) < LEAST_SILHOUETTE:
        return np.zeros(len(places), np.int64)
    return cuts[int(np.argmax(apart))]


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
