"""How likely a hit is right, from its cost and from the costs that the same query has elsewhere.

A score counts how far a cost lies below the middle one of blocks drawn at random from the corpus, in deviations of
theirs: so scores of short and long queries, of clear and noisy ones, compare. A block at random hardly ever holds the
word; the deviation is that of the dearer half, where none does. A logistic function makes the score a probability.
Since blocks that hold the word and blocks that do not both grow with the corpus, it holds for small and large ones.
"""

import math

import numpy as np

LEAST_DEVIATION = 1e-4
NORMAL_QUARTILE = 0.6745  # deviations from the middle to a quartile of a normal distribution
# Logistic regression on the hits of words in Italian prompts (scripts/bench/bench_search.py; docs/results/search.md).
INTERCEPT, SLOPE = -9.0, 2.2


def score_costs(costs: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(N,) costs -> (N,) scores, by the (B,) costs of blocks drawn at random."""
    if not len(background):
        return np.zeros(len(costs))
    middle, high = np.quantile(np.asarray(background, np.float64), [0.5, 0.75])
    return (middle - np.asarray(costs, np.float64)) / max((high - middle) / NORMAL_QUARTILE, LEAST_DEVIATION)


def probability(score: float) -> float:
    """That a hit with this score is right: 0 to 1."""
    return 1 / (1 + math.exp(-min(max(INTERCEPT + SLOPE * score, -60.0), 60.0)))
