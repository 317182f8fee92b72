"""Bootstrap intervals: against closed forms, against a plain loop, and their coverage."""

import itertools

import numpy as np

import pytest

from evaluation.bootstrap import (
    Interval,
    adjust_for_many,
    bootstrap_mean,
    bootstrap_ratio,
    paired_difference,
    paired_ratio_difference,
    permutation_p,
)


def test_mean_and_interval_agree_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    found = bootstrap_mean(values)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert found.n == 400 and found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half_width, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half_width, abs=0.03)


def test_ratio_is_of_the_sums_and_resamples_whole_utterances():
    errors, lengths = np.array([0.0, 3.0, 10.0, 1.0]), np.array([10.0, 10.0, 20.0, 50.0])
    found = bootstrap_ratio(errors, lengths, n_resamples=3000, seed=3)
    assert found.mean == pytest.approx(14 / 90)
    rng = np.random.default_rng(3)
    draws = rng.integers(4, size=(3000, 4))
    by_hand = [errors[draw].sum() / lengths[draw].sum() for draw in draws]
    assert [found.low, found.high] == pytest.approx(list(np.quantile(by_hand, [0.025, 0.975])))


def test_interval_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(rng.exponential(1.0, 60), n_resamples=500, seed=run) for run in range(400)]
    covered = np.mean([entry.low <= 1.0 <= entry.high for entry in found])
    assert 0.90 <= covered <= 0.98


def test_pairing_removes_what_both_systems_share():
    rng = np.random.default_rng(0)
    difficulty, gain = rng.normal(0, 10, 50), rng.normal(0.5, 0.2, 50)
    found = paired_difference(difficulty + gain, difficulty)
    assert found.mean == pytest.approx(gain.mean()) and found.low > 0.4
    assert found.high - found.low < 0.2 < bootstrap_mean(difficulty).high - bootstrap_mean(difficulty).low


def test_paired_ratio_difference_by_hand_and_of_a_system_with_itself():
    first, second = ([2, 4], [10, 30]), ([5, 5], [10, 30])
    assert paired_ratio_difference(first, second).mean == pytest.approx(6 / 40 - 10 / 40)
    same = paired_ratio_difference(first, first)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_seeded_and_independent_of_the_block_size(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    whole = bootstrap_mean(values)
    monkeypatch.setattr("evaluation.bootstrap._DRAWN_AT_ONCE", 100)
    assert bootstrap_mean(values) == whole
    assert bootstrap_mean(values, seed=1) != whole


def test_one_utterance_has_an_interval_without_width():
    assert bootstrap_mean([2.5]) == Interval(mean=2.5, low=2.5, high=2.5, n=1)


@pytest.mark.parametrize(
    ("numerators", "denominators"),
    [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([np.nan], [1.0]), ([1.0], [-1.0])],
)
def test_what_has_no_ratio_is_refused(numerators, denominators):
    with pytest.raises(ValueError, match="expected"):
        bootstrap_ratio(numerators, denominators)


def test_equal_utterances_drawn_as_groups_give_the_same_interval(monkeypatch):
    rng = np.random.default_rng(5)
    words = rng.integers(0, 12, 6000)
    errors = rng.binomial(words, 0.3)
    grouped = bootstrap_ratio(errors, words, n_resamples=2000)
    monkeypatch.setattr("evaluation.bootstrap.MIN_UTTERANCES_TO_GROUP", 10_000)
    alone = bootstrap_ratio(errors, words, n_resamples=2000)
    width = alone.high - alone.low
    assert grouped.mean == alone.mean and grouped != alone
    assert abs(grouped.low - alone.low) < width / 10 and abs(grouped.high - alone.high) < width / 10


def test_without_a_word_the_ratio_counts_the_errors():
    found = bootstrap_ratio([2, 1], [0, 0])
    assert found.mean == 3 and (found.low, found.high) == (2, 4)
    mixed = bootstrap_ratio([1] * 9 + [0], [0] * 9 + [10])
    assert mixed.mean == 0.9 and np.isfinite([mixed.low, mixed.high]).all()


def test_differing_denominators_agree_with_equal_ones():
    first, second = ([3, 0, 4, 1], [10, 8, 9, 7]), ([1, 1, 2, 2], [10, 8, 9, 7])
    equal = paired_ratio_difference(first, second, n_resamples=3000)
    nearly = paired_ratio_difference(first, (second[0], [10, 8, 9, 7 + 1e-9]), n_resamples=3000)
    assert equal == pytest.approx(nearly)


def test_permutation_p_is_that_of_all_swaps():
    differences = np.array([2, -1, 3, 0, 1, 2, 1])
    swaps = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    exact = np.mean(np.abs(swaps @ differences) >= abs(differences.sum()))
    assert permutation_p(differences, n_permutations=100_000) == pytest.approx(exact, abs=0.005)
    assert permutation_p(-differences) == permutation_p(differences)
    assert permutation_p(np.zeros(5)) == 1
    assert permutation_p(np.ones(100), n_permutations=999) == 0.001


def test_adjusted_p_values_by_hand():
    assert adjust_for_many([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert adjust_for_many([0.9, 0.9]) == [1, 1] and adjust_for_many([0.02]) == [0.02] and adjust_for_many([]) == []
