"""How likely a hit is right, from its cost and from the costs that the same query has elsewhere.

A score counts how far a cost lies below the middle one of blocks drawn at random from the corpus, in deviations of
theirs: so scores of short and long queries, of clear and noisy ones, compare. A block at random hardly ever holds the
word; the deviation is that of the dearer half, where none does. A logistic function makes the score a probability.
Since blocks that hold the word and blocks that do not both grow with the corpus, it holds for small and large ones.
"""

import math

import numpy as np

from core.records import SearchFeatures

LEAST_DEVIATION = 1e-4
NORMAL_QUARTILE = 0.6745  # deviations from the middle to a quartile of a normal distribution
# (Intercept, slope) by logistic regression on words in Italian prompts, of the same and of another speaker
# (scripts/bench/bench_search.py --fit; docs/results/search.md).
CEPSTRA, MODELS = (-4.70, 0.946), (-5.64, 0.761)


def score_costs(costs: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(N,) costs -> (N,) scores, by the (B,) costs of blocks drawn at random."""
    if not len(background):
        return np.zeros(len(costs))
    middle, high = np.quantile(np.asarray(background, np.float64), [0.5, 0.75])
    return (middle - np.asarray(costs, np.float64)) / max((high - middle) / NORMAL_QUARTILE, LEAST_DEVIATION)


def probability(score: float, features: SearchFeatures) -> float:
    """That a hit with this score, on an index of these features, is right: 0 to 1."""
    intercept, slope = MODELS if features["n_features"] else CEPSTRA
    return 1 / (1 + math.exp(-min(max(intercept + slope * score, -60.0), 60.0)))
