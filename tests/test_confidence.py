"""Bootstrap intervals: against closed forms, against a plain loop, and their coverage."""

import numpy as np

import pytest

from evaluation.confidence import bootstrap_mean, bootstrap_ratio, paired_difference, paired_ratio_difference


def test_mean_and_interval_agree_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    found = bootstrap_mean(values)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert found["n"] == 400 and found["mean"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - half_width, abs=0.03)
    assert found["high"] == pytest.approx(values.mean() + half_width, abs=0.03)


def test_ratio_is_of_the_sums_and_resamples_whole_utterances():
    errors, lengths = np.array([0.0, 3.0, 10.0, 1.0]), np.array([10.0, 10.0, 20.0, 50.0])
    found = bootstrap_ratio(errors, lengths, n_resamples=3000, seed=3)
    assert found["mean"] == pytest.approx(14 / 90)
    rng = np.random.default_rng(3)
    draws = rng.integers(4, size=(3000, 4))
    by_hand = [errors[draw].sum() / lengths[draw].sum() for draw in draws]
    assert [found["low"], found["high"]] == pytest.approx(list(np.quantile(by_hand, [0.025, 0.975])))


def test_interval_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(rng.exponential(1.0, 60), n_resamples=500, seed=run) for run in range(400)]
    covered = np.mean([entry["low"] <= 1.0 <= entry["high"] for entry in found])
    assert 0.90 <= covered <= 0.98


def test_pairing_removes_what_both_systems_share():
    rng = np.random.default_rng(0)
    difficulty, gain = rng.normal(0, 10, 50), rng.normal(0.5, 0.2, 50)
    found = paired_difference(difficulty + gain, difficulty)
    assert found["mean"] == pytest.approx(gain.mean()) and found["low"] > 0.4
    assert found["high"] - found["low"] < 0.2 < bootstrap_mean(difficulty)["high"] - bootstrap_mean(difficulty)["low"]


def test_paired_ratio_difference_by_hand_and_of_a_system_with_itself():
    first, second = ([2, 4], [10, 30]), ([5, 5], [10, 30])
    assert paired_ratio_difference(first, second)["mean"] == pytest.approx(6 / 40 - 10 / 40)
    same = paired_ratio_difference(first, first)
    assert (same["mean"], same["low"], same["high"]) == (0, 0, 0)


def test_seeded_and_independent_of_the_block_size(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    whole = bootstrap_mean(values)
    monkeypatch.setattr("evaluation.confidence._DRAWN_AT_ONCE", 100)
    assert bootstrap_mean(values) == whole
    assert bootstrap_mean(values, seed=1) != whole


def test_one_utterance_has_an_interval_without_width():
    assert bootstrap_mean([2.5]) == {"mean": 2.5, "low": 2.5, "high": 2.5, "n": 1}


@pytest.mark.parametrize(
    ("numerators", "denominators"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [0.0])]
)
def test_what_has_no_ratio_is_refused(numerators, denominators):
    with pytest.raises(ValueError, match="expected"):
        bootstrap_ratio(numerators, denominators)
