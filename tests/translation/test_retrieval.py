"""Ranks, lengths and listening, on matrices whose answers are known; losses against numbers made by hand."""

import math

import numpy as np
import torch

import pytest

from translation.losses import contrast_nats
from translation.retrieval import (
    compare_ranks,
    fit_lengths,
    hits,
    join_sources,
    length_scores,
    measure_listening,
    score_meaning,
    score_ways,
    summarise_ranks,
    true_ranks,
)
from translation.scoring import PairScores

SCORES = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 4.0], [1.0, 1.0, 1.0]])


def test_ranks_count_what_is_better_and_share_ties() -> None:
    assert true_ranks(SCORES).tolist() == [1, 2.5, 2]
    assert hits(SCORES, 1).tolist() == [1, 0, 0] and hits(SCORES, 2).tolist() == [1, 0, 1]
    assert summarise_ranks(SCORES)["recall_at_1"]["mean"] == pytest.approx(1 / 3)
    assert summarise_ranks(np.zeros((40, 40)))["recall_at_1"]["mean"] == 0  # nothing known is no hit
    assert compare_ranks(np.eye(3), SCORES)["recall_at_1"]["mean"] == pytest.approx(2 / 3)


def test_a_model_of_lengths_finds_what_is_as_long_as_expected() -> None:
    source = np.array([1.0, 2.0, 4.0, 8.0])
    seconds = list(zip(source, 3 * source**0.5))
    model = fit_lengths(seconds)
    assert (model.slope, math.exp(model.offset)) == (pytest.approx(0.5), pytest.approx(3.0))
    assert hits(length_scores(model, seconds), 1).all()
    noisy = fit_lengths([(1.0, 1.0), (1.0, math.e), (2.0, 2.0), (2.0, 2 * math.e)])
    assert noisy.spread == pytest.approx(0.5)
    assert length_scores(noisy, [(1.0, math.e**1.5)]) == pytest.approx(np.array([[-2.0]]))  # two spreads away


def test_ways_of_preferring_and_listening() -> None:
    nats = np.array([[4.0, 30.0], [10.0, 20.0]])
    unit = np.eye(2, dtype=np.float32)
    pairs = PairScores(np.diag(nats), np.array([9.0, 25.0]), np.array([2, 10]), unit, unit[::-1])
    ways = score_ways(nats, pairs)
    assert ways["likelihood"].tolist() == [[-2, -3], [-5, -2]]
    assert ways["pmi"].tolist() == [[5, -5], [-1, 5]]
    assert true_ranks(score_meaning(pairs)).tolist() == [2, 2]
    heard = measure_listening(nats, pairs)
    means = [heard[name]["mean"] for name in ("true_source", "no_source", "gain")]
    assert means == pytest.approx([24 / 12, 34 / 12, (10 + 30 - 24) / 12])


def test_sources_of_several_languages_count_the_same_whatever_their_scale() -> None:
    large, small = np.array([[1000.0, 2000.0], [0.0, 9000.0]]), np.array([[0.1, 0.0], [0.0, 0.3]])
    assert true_ranks(large).tolist() == [2, 1] == true_ranks(large + small).tolist()
    assert true_ranks(join_sources([large, small])).tolist() == [1, 1]


def test_the_contrast_leaves_out_what_says_the_same() -> None:
    source = torch.eye(3)
    target = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    sharp = torch.tensor(2.0)
    apart = contrast_nats(source, target, sharp, torch.arange(3))
    rows = [math.log(2 * math.e**2 + 1) - 2, math.log(3), math.log(math.e**2 + 2) - 2]
    columns = [math.log(math.e**2 + 2) - 2, math.log(math.e**2 + 2), math.log(math.e**2 + 2) - 2]
    assert apart.item() == pytest.approx((np.mean(rows) + np.mean(columns)) / 2, rel=1e-5)
    same = contrast_nats(source, target, sharp, torch.tensor([0, 0, 1]))
    assert same < apart
