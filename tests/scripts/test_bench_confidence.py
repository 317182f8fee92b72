"""The share of errors in what is corrected first, and the minutes of a round."""

import numpy as np

import pytest

from bench_confidence import resample, share_met
from bench_corrections import take_minutes


def test_errors_are_met_in_the_order_of_the_queue() -> None:
    seconds, errors = np.array([10.0, 10.0, 20.0]), np.array([1, 3, 0])
    assert share_met(np.array([1, 0, 2]), seconds, errors, 0.25) == 0.75
    assert share_met(np.array([1, 0, 2]), seconds, errors, 0.5) == 1.0
    assert share_met(np.array([2, 0, 1]), seconds, errors, 0.5) == 0.0


def test_the_interval_holds_what_a_good_queue_finds() -> None:
    draw = np.random.default_rng(0)
    errors = draw.integers(0, 5, 80)
    low, high = resample(-errors.astype(float), np.ones(80), errors, 0.5)
    assert 0.5 < low < share_met(np.argsort(-errors), np.ones(80), errors, 0.5) < high <= 1.0


@pytest.mark.parametrize(("minutes", "n"), [(0.01, 1), (1.0, 2), (9.0, 3)])
def test_a_round_takes_whole_utterances(minutes: float, n: int) -> None:
    assert len(take_minutes([{"duration": 30.0}] * 3, minutes)) == n
