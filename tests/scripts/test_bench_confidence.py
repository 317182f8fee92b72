"""The share of errors in what is corrected first, and the minutes of a round."""

import numpy as np

import pytest

from bench_confidence import resample, share_met
from bench_corrections import summarise, take_minutes


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


def test_rounds_are_pooled_over_seeds_and_compared_with_the_random_order() -> None:
    def row(seed: int, order: str, number: int, edits: list[int]) -> dict:
        return {"seed": seed, "order": order, "round": number, "minutes": 2.0 + seed, "n_words": 10, "edits": edits}

    rows = [row(seed, "start", 0, [4, 4]) for seed in (0, 1)]
    rows += [row(seed, order, 1, [n, n]) for seed in (0, 1) for order, n in (("least sure", 1), ("random", 2))]
    start, least, random = summarise(rows, np.array([4, 4]))
    assert (start.order, start.wer.mean, start.minutes, start.gain) == ("start", 1.0, 2.5, None)
    assert (least.wer.mean, random.wer.mean, random.gain) == (0.25, 0.5, None)
    assert (least.gain.mean, least.gain.low, least.gain.high) == (-0.25, -0.25, -0.25)
