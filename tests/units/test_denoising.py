"""The network before the clusters: it begins as nothing, learns a disturbance, and lies in the file of the clusters."""

from pathlib import Path

import numpy as np
import torch

import pytest

from core.errors import UserError
from models.feature_denoiser import FeatureDenoiser
from units.assignment import assign
from units.carried_embeddings import same_clusters
from units.clusters import UnitClusters
from units.denoising import _closeness, denoise, denoiser_arrays, fit_denoiser
from units.kmeans import load_kmeans, quantize_to_units, save_kmeans, save_safetensors

CENTROIDS = np.random.default_rng(0).normal(0, 1, (8, 4)).astype(np.float32)


def utterances(n: int = 6) -> list[list[np.ndarray]]:
    """Clean frames near the centroids, and copies that noise has moved by one vector, all alike."""
    random = np.random.default_rng(1)
    clean = [CENTROIDS[random.integers(8, size=60)].repeat(2, axis=0) for _ in range(n)]
    return [[one, one + np.float32([1.5, -1, 1, 2])] for one in clean]


@pytest.fixture(scope="module")
def denoiser() -> FeatureDenoiser:
    return fit_denoiser(utterances(), CENTROIDS, 0, steps=40, n_crops=4)


def clusters(denoiser: FeatureDenoiser | None) -> UnitClusters:
    return UnitClusters([CENTROIDS], np.zeros(4, np.float32), np.ones(4, np.float32), denoiser=denoiser)


def test_it_begins_as_the_identity() -> None:
    features = utterances(1)[0][1]
    np.testing.assert_array_equal(denoise(features, FeatureDenoiser(4).eval()), features)
    assert denoise(features[:0], FeatureDenoiser(4)).shape == (0, 4)
    assert denoise(features[:1], FeatureDenoiser(4).eval()).shape == (1, 4)


def test_units_of_disturbed_recordings_come_back_and_clean_ones_stay(denoiser: FeatureDenoiser) -> None:
    found, kept, before = [], [], []
    for clean, disturbed in utterances():
        units = assign(clean, CENTROIDS)
        before.append(assign(disturbed, CENTROIDS) == units)
        found.append(quantize_to_units(disturbed, clusters(denoiser))[:, 0] == units)
        kept.append(quantize_to_units(clean, clusters(denoiser))[:, 0] == units)
    assert np.mean(before) < 0.3 and np.mean(found) > 0.6
    assert np.mean(kept) > 0.9


def test_training_depends_on_the_seed_alone() -> None:
    first, again, other = (
        denoiser_arrays(fit_denoiser(utterances(), CENTROIDS, seed, steps=5, n_crops=2)) for seed in (0, 0, 1)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_files_keep_it(denoiser: FeatureDenoiser, tmp_path: Path) -> None:
    known, features = clusters(denoiser), utterances(1)[0][1]
    save_kmeans(tmp_path, known, {"encoder": "mfcc", "layer": None, "options": {}})
    save_safetensors(tmp_path / "units.safetensors", known)
    for name in ("kmeans.npz", "units.safetensors"):
        loaded = load_kmeans(tmp_path / name)
        np.testing.assert_array_equal(quantize_to_units(features, loaded), quantize_to_units(features, known))
    assert same_clusters(known, clusters(denoiser))
    assert not same_clusters(known, clusters(None)) and not same_clusters(clusters(None), known)


def test_half_a_network_is_named(denoiser: FeatureDenoiser, tmp_path: Path) -> None:
    save_kmeans(tmp_path, clusters(denoiser), {"encoder": "mfcc", "layer": None, "options": {}})
    with np.load(tmp_path / "kmeans.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name != "denoiser.enter.weight"}
    np.savez(tmp_path / "kmeans.npz", **arrays)
    with pytest.raises(
        UserError, match=r"denoiser of units, found: other or no denoiser\.enter\.weight; copy it again"
    ):
        load_kmeans(tmp_path / "kmeans.npz")


def test_the_closest_centroid_is_the_nearest_whatever_its_length() -> None:
    book, frames = (
        torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 0.2], [2.5, 0.0], [0.1, 0.8]]),
    )
    assert (
        _closeness(frames, book).argmax(dim=1).tolist() == torch.cdist(frames, book).argmin(dim=1).tolist() == [1, 0, 2]
    )
