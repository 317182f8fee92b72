"""Nearest centroids, and the best path through them where a change of unit costs something."""

from itertools import product
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from units.assignment import assign, assign_smoothly, neighbour_distance
from units.kmeans import (
    fit_kmeans,
    load_kmeans,
    penalise,
    quantize_to_units,
    refit_on_paths,
    save_kmeans,
    save_safetensors,
)


def noisy_steps(n_frames: int = 400, *, n_features: int = 5, seed: int = 0) -> np.ndarray:
    """(F, D) float32: plateaus of some frames with noise about as large as their distances."""
    rng = np.random.default_rng(seed)
    plateaus = np.repeat(rng.standard_normal((n_frames // 8 + 1, n_features)), 8, axis=0)[:n_frames]
    return (plateaus + 0.8 * rng.standard_normal(plateaus.shape)).astype(np.float32)


def path_cost(features: np.ndarray, centroids: np.ndarray, units: np.ndarray, switch_cost: float) -> float:
    distances = np.square(features.astype(np.float64) - centroids[units]).sum()
    return float(distances + switch_cost * np.count_nonzero(np.diff(units)))


def count_runs(units: np.ndarray) -> int:
    return 1 + int(np.count_nonzero(np.diff(units)))


@pytest.mark.parametrize("switch_cost", [0.3, 1.5, 6.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_path_is_cheaper(seed: int, switch_cost: float) -> None:
    features = noisy_steps(7, n_features=2, seed=seed)
    centroids = np.random.default_rng(seed + 100).standard_normal((3, 2)).astype(np.float32)
    found = path_cost(features, centroids, assign_smoothly(features, centroids, switch_cost), switch_cost)
    paths = (np.array(path) for path in product(range(3), repeat=7))
    best = min(path_cost(features, centroids, path, switch_cost) for path in paths)
    assert found == pytest.approx(best, rel=1e-5)


def test_blocks_equal_the_whole() -> None:
    features, centroids = noisy_steps(), noisy_steps(20, seed=1)
    whole = assign_smoothly(features, centroids, 3.0)
    for block_frames in (1, 7, 399):
        np.testing.assert_array_equal(assign_smoothly(features, centroids, 3.0, block_frames=block_frames), whole)


def test_without_a_cost_it_is_the_nearest_centroid() -> None:
    features, centroids = noisy_steps(), noisy_steps(20, seed=1)
    np.testing.assert_array_equal(assign_smoothly(features, centroids, 0.0), assign(features, centroids))


def test_the_larger_the_cost_the_fewer_the_runs() -> None:
    features, centroids = noisy_steps(), noisy_steps(20, seed=1)
    costs = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 1e4)
    runs = [count_runs(assign_smoothly(features, centroids, cost)) for cost in costs]
    assert runs == sorted(runs, reverse=True)
    assert (len(set(runs)) > 4, runs[-1]) == (True, 1)


def test_short_utterances() -> None:
    centroids = noisy_steps(20)
    assert assign_smoothly(np.zeros((0, 5), np.float32), centroids, 1.0).shape == (0,)
    np.testing.assert_array_equal(assign_smoothly(centroids[7:8], centroids, 1.0), [7])


def test_large_offsets_do_not_drown_the_cost() -> None:
    """Unnormalised features may lie far from zero, and utterances may be long: sums of costs must not lose digits."""
    features, centroids = noisy_steps(20_000), noisy_steps(20, seed=1)
    near, far = (assign_smoothly(features + shift, centroids + shift, 3.0) for shift in (0, np.float32(16)))
    assert (near == far).mean() > 0.999


def test_the_scale_is_that_of_neighbouring_centroids() -> None:
    centroids = np.array([[0, 0], [3, 0], [3, 4], [100, 0]], np.float32)
    assert neighbour_distance(centroids) == pytest.approx(np.median([9, 9, 16, 97**2]))
    assert neighbour_distance(centroids * 2) == pytest.approx(4 * neighbour_distance(centroids))
    wider = np.concatenate([centroids, np.full((4, 30), 5, np.float32)], axis=1)
    assert neighbour_distance(wider) == pytest.approx(neighbour_distance(centroids))
    assert neighbour_distance(centroids[:1]) == 0


def test_every_stream_follows_what_the_path_before_leaves_over() -> None:
    features = noisy_steps(3000)
    plain = fit_kmeans(features, 12, n_streams=2)
    clusters = penalise(plain, 1.5)
    units = quantize_to_units(features, clusters)
    left = (features - plain.mean) / plain.scale
    for stream, book in enumerate(plain.books):
        expected = assign_smoothly(left, book, 1.5 * neighbour_distance(book))
        np.testing.assert_array_equal(units[:, stream], expected)
        left = left - book[expected]
    before = quantize_to_units(features, plain)
    assert all(count_runs(units[:, stream]) < 0.8 * count_runs(before[:, stream]) for stream in range(2))
    np.testing.assert_array_equal(quantize_to_units(features, penalise(clusters, 0.0)), before)


def test_fitted_to_a_penalty_the_objective_falls_and_means_are_those_of_the_paths() -> None:
    features = noisy_steps(3000)
    plain = fit_kmeans(features, 12, n_streams=2)
    fitted = refit_on_paths(features, plain, 1.5)
    scaled = (features - plain.mean) / plain.scale
    cost = 1.5 * neighbour_distance(fitted.books[0])
    units = [
        quantize_to_units(features, clusters)[:, 0]
        for clusters in (plain._replace(switch_costs=fitted.switch_costs), fitted)
    ]
    before, after = (
        path_cost(scaled, book, found, cost) for book, found in zip((plain.books[0], fitted.books[0]), units)
    )
    assert after < 0.99 * before
    means = np.stack([scaled[units[1] == unit].mean(axis=0) for unit in range(12)])
    assert np.abs(means - fitted.books[0]).max() < 0.3 * np.abs(means - plain.books[0]).max()
    assert not np.allclose(fitted.books[1], plain.books[1])
    assert fitted.switch_costs == penalise(fitted, 1.5).switch_costs


def test_the_files_carry_the_penalty(tmp_path: Path) -> None:
    features = noisy_steps(1000)
    description = {"encoder": "mfcc", "layer": None, "options": {}, "duration_penalty": 1.5}
    plain = fit_kmeans(features, 12)
    save_kmeans(tmp_path, plain, description)
    read = load_kmeans(tmp_path / "kmeans.npz")
    save_safetensors(tmp_path / "units.safetensors", read)
    expected = quantize_to_units(features, penalise(plain, 1.5))
    assert not np.array_equal(expected, quantize_to_units(features, plain))
    for clusters in (read, load_kmeans(tmp_path / "units.safetensors")):
        np.testing.assert_array_equal(quantize_to_units(features, clusters), expected)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="5 features a frame, found 4"):
        quantize_to_units(np.zeros((2, 4), np.float32), penalise(fit_kmeans(noisy_steps(), 4), 1.0))
