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
from units.denoising import CROP_FRAMES, _closeness, _draw, denoise, denoiser_arrays, fit_denoiser, read_denoiser
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


def test_crops_are_stretches_of_one_copy_with_the_units_of_its_clean_one() -> None:
    """A short utterance is filled up with nothing, whose unit is -1; long ones are drawn more often."""
    lengths = (40, 300)
    copies = [[np.full((n, 3), 10 * n + number, np.float32) for number in range(3)] for n in lengths]
    for utterance in copies:
        for one in utterance:
            one[:, 0] = np.arange(len(one))
    units = [torch.arange(n) for n in lengths]
    around = [[torch.full((6,), float(10 * n + number)) for number in range(3)] for n in lengths]
    features, beside, targets, clean = _draw(copies, units, around, 400, np.random.default_rng(0))
    assert features.shape == (400, CROP_FRAMES, 3) and beside.shape == (400, 6) and targets.shape == (400, CROP_FRAMES)
    of_copy = features[:, 0, 1]
    assert torch.equal(beside[:, 0], of_copy) and set(of_copy.tolist()) == {400, 401, 402, 3000, 3001, 3002}
    assert torch.equal(clean, (of_copy % 10 == 0).float()) and 0.2 < clean.mean() < 0.4
    short = of_copy < 1000
    assert 0.05 < short.float().mean() < 0.2, "40 of 340 frames"
    assert (targets[short, 40:] == -1).all() and (features[short, 40:] == 0).all()
    assert torch.equal(targets[short, :40], torch.arange(40).expand(int(short.sum()), 40))
    assert torch.equal(targets[~short].float(), features[~short, :, 0])
    starts = targets[~short, 0]
    assert 0 <= starts.min() < 10 and 300 - CROP_FRAMES - 10 < starts.max() <= 300 - CROP_FRAMES
    assert torch.equal(targets[~short, -1], starts + CROP_FRAMES - 1)


def test_arrays_without_a_denoiser_have_none_and_a_foreign_one_is_named(denoiser: FeatureDenoiser) -> None:
    assert denoiser_arrays(None) == {} and read_denoiser({"centroids": CENTROIDS}) is None
    arrays = denoiser_arrays(denoiser)
    assert all(name.startswith("denoiser.") for name in arrays)
    again = read_denoiser(arrays | {"centroids": CENTROIDS})
    assert not again.training and not any(value.requires_grad for value in again.parameters())
    for broken, said in (
        (
            {name: value for name, value in arrays.items() if name != "denoiser.leave.weight"},
            "no denoiser.leave.weight",
        ),
        (arrays | {"denoiser.leave.weight": np.zeros(3, np.float32)}, "no denoiser.leave.weight"),
        (arrays | {"denoiser.more": np.zeros(3, np.float32)}, "other or no denoiser.more"),
    ):
        with pytest.raises(ValueError, match=said):
            read_denoiser(broken)


def test_learning_is_quiet_and_leaves_the_random_numbers_of_others_alone(capsys: pytest.CaptureFixture) -> None:
    state = torch.random.get_rng_state()
    fit_denoiser(utterances(2), CENTROIDS, 3, steps=1, n_crops=2)
    assert torch.equal(torch.random.get_rng_state(), state) and capsys.readouterr().err == ""
