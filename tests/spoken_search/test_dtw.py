"""Subsequence alignment against the definition, by brute force."""

import functools

import numpy as np

import pytest

from spoken_search.dtw import FAR, best_match, count_blocks, match_ends, scan_segments


def cost_by_definition(distances: np.ndarray, stop: int) -> tuple[float, int]:
    """(mean distance, first frame) of the best path that ends in frame ``stop``, by trying all steps."""

    @functools.cache
    def best(frame: int, row: int) -> tuple[float, int]:
        if row < 0:
            return 0.0, frame + 1
        if frame < 0:
            return np.inf, 0
        here = float(distances[frame, row])
        found = [(best(frame - 1, row - 1), here)]
        if frame > 0:
            found.append((best(frame - 2, row - 1), (float(distances[frame - 1, row]) + here) / 2))
        if row > 0:
            found.append((best(frame - 1, row - 2), float(distances[frame, row - 1]) + here))
        return min((before[0] + cost, before[1]) for before, cost in found)

    total, start = best(stop, distances.shape[1] - 1)
    return total / distances.shape[1], start


def test_every_end_has_the_best_path_of_all() -> None:
    distances = np.random.default_rng(0).random((14, 5)).astype(np.float32)
    costs, starts = match_ends(distances)
    for stop in range(2, 14):
        cost, start = cost_by_definition(distances, stop)
        assert (costs[stop], starts[stop]) == (pytest.approx(cost, abs=1e-5), start)
    assert costs[1] > 1e6  # two frames are too few for five


def test_speech_at_another_speed_is_found_where_it_lies() -> None:
    rng = np.random.default_rng(1)
    query = rng.standard_normal((12, 4))
    slower = np.repeat(query, [1, 2] * 6, axis=0)
    speech = np.concatenate([rng.standard_normal((30, 4)), slower, rng.standard_normal((20, 4))])
    distances = np.linalg.norm(speech[:, None] - query, axis=2)
    found = best_match(distances)
    assert (found.start, found.stop) == (pytest.approx(30, abs=1), pytest.approx(30 + len(slower), abs=1))
    assert found.cost == pytest.approx(0, abs=1e-6)
    # More than twice as slow is no longer the same word.
    assert best_match(np.linalg.norm(np.repeat(query, 3, axis=0)[:, None] - query, axis=2)).cost > 0.1


def test_blocks_hold_the_best_end_and_no_match_crosses_segments() -> None:
    rng = np.random.default_rng(2)
    table, codes = rng.random((9, 6)).astype(np.float32), rng.integers(0, 9, 100).astype(np.uint8)
    bounds = np.array([0, 37, 37, 39, 100])
    costs = scan_segments(table, codes, bounds, 10)
    assert count_blocks(bounds, 10).tolist() == [4, 0, 1, 7]
    expected = []
    for first, last in zip(bounds[:-1], bounds[1:]):
        ends = match_ends(table[codes[first:last]])[0]
        expected += [min(ends[start : start + 10].min(), FAR) for start in range(0, last - first, 10)]
    possible = np.array(expected) < 1e6
    np.testing.assert_allclose(costs[possible], np.array(expected)[possible], rtol=1e-5)
    assert (costs[~possible] > 1e6).all() and not possible[4]


def test_too_little_speech_has_no_match() -> None:
    assert best_match(np.zeros((2, 8), np.float32)) is None
    assert best_match(np.zeros((0, 8), np.float32)) is None
