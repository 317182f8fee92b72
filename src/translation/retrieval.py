"""Retrieval: which of N targets does a model prefer for a source? By likelihood, by meaning, by length alone.

Axes: N pairs (row: source, column: target; the true target of a row stands on the diagonal), U training pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.records import MetricScore
from evaluation.bootstrap import bootstrap_mean, bootstrap_ratio, paired_difference
from translation.scoring import PairScores

RANKS = (1, 10)
LEAST_SPREAD = 1e-3
WAYS = {
    "likelihood": "log-probability a token of the target behind the source",
    "pmi": "log-probability of the target behind the source, less that without a source",
    "meaning": "product of what source and target are about",
    "meaning+lengths": "both, as two witnesses that know nothing of each other",
    "lengths": "how well the target's length fits that of the source; knows nothing else",
}


class LengthModel(NamedTuple):
    """log seconds of the target = offset + slope * log seconds of the source, give or take."""

    offset: float
    slope: float
    spread: float  # of the log of the target's seconds around it


def fit_lengths(seconds: Sequence[tuple[float, float]]) -> LengthModel:
    """Least squares over (source, target) seconds of U training pairs."""
    source, target = np.log(np.asarray(seconds, np.float64)).T
    slope, offset = np.polyfit(source, target, 1)
    spread = float((target - offset - slope * source).std())
    return LengthModel(float(offset), float(slope), max(spread, LEAST_SPREAD))


def length_scores(model: LengthModel, seconds: Sequence[tuple[float, float]]) -> np.ndarray:
    """(N, N) nats, but for a constant: the nearer a target's length to what is expected, the higher."""
    source, target = np.log(np.asarray(seconds, np.float64)).T
    return -(((target[None] - model.offset - model.slope * source[:, None]) / model.spread) ** 2) / 2


def score_ways(nats: np.ndarray, pairs: PairScores) -> dict[str, np.ndarray]:
    """(N, N) scores by the log-probability of targets; ``nats`` (N, N) as ``scoring.nats_matrix`` gives them."""
    return {
        "likelihood": -nats / pairs.n_tokens[None],
        "pmi": pairs.alone[None] - nats,
    }


def score_meaning(pairs: PairScores, sharpness: float = 1.0) -> np.ndarray:
    """(N, N) products of what each source and each target are about; nats by the ``sharpness`` of the contrast."""
    return sharpness * pairs.source @ pairs.target.T


def true_ranks(scores: np.ndarray) -> np.ndarray:
    """(N,) rank of the true target of each source, from 1; equals share the middle of their ranks."""
    own = np.diag(scores)[:, None]
    better, equal = (scores > own).sum(1), (scores == own).sum(1) - 1
    return 1 + better + equal / 2


def hits(scores: np.ndarray, rank: int) -> np.ndarray:
    """(N,) 1.0 where the true target is among the first ``rank``."""
    return (true_ranks(scores) <= rank).astype(float)


def summarise_ranks(scores: np.ndarray) -> dict[str, MetricScore]:
    """R@1, R@10 and the mean reciprocal rank, with intervals over the sources."""
    found = {f"recall_at_{rank}": bootstrap_mean(hits(scores, rank)) for rank in RANKS}
    found["reciprocal_rank"] = bootstrap_mean(1 / true_ranks(scores))
    return {name: interval._asdict() | {"unit": ""} for name, interval in found.items()}


def compare_ranks(first: np.ndarray, second: np.ndarray) -> dict[str, MetricScore]:
    """R@1 and R@10 of ``first`` minus those of ``second``, over the same sources."""
    found = {f"recall_at_{rank}": paired_difference(hits(first, rank), hits(second, rank)) for rank in RANKS}
    return {name: interval._asdict() | {"unit": ""} for name, interval in found.items()}


def measure_listening(nats: np.ndarray, pairs: PairScores) -> dict[str, MetricScore]:
    """Does it listen? Nats a token behind the true source, behind the other sources, without one, and the gain."""
    own = np.diag(nats)
    others = (nats.sum(0) - own) / (len(nats) - 1)
    values = {"true_source": own, "other_sources": others, "no_source": pairs.alone, "gain": others - own}
    return {name: bootstrap_ratio(value, pairs.n_tokens)._asdict() | {"unit": "nat"} for name, value in values.items()}


def join_sources(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The same targets asked for in several languages at once: scores are brought to one spread and added."""
    return sum((scores - scores.mean()) / scores.std() for scores in matrices)
