"""F0 in bins, and as the generators embed it."""

import numpy as np
import torch

import pytest

from core.frames import N_PITCH_BINS
from models.pitch_embedding import PitchEmbedding, extract_pitch_bins


def test_bins_are_log_spaced_to_the_last_digit() -> None:
    edges = np.geomspace(60.0, 500.0, N_PITCH_BINS)
    near = edges.astype(np.float32)
    near = np.concatenate([np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(1e4))])
    f0 = np.concatenate([near, np.linspace(0, 600, 60_001), [0.0, 1e-3, 59.999, 1e4]]).astype(np.float32)
    bins = extract_pitch_bins(torch.from_numpy(f0))
    expected = np.where(f0 > 0, np.searchsorted(edges, f0, side="right").clip(1, N_PITCH_BINS - 1), 0)
    np.testing.assert_array_equal(bins.numpy(), expected)
    assert bins.dtype == torch.int64
    assert set(bins.tolist()) == set(range(N_PITCH_BINS))
    assert (bins[len(near) : len(near) + 60_001].diff() >= 0).all()


def test_bins_at_known_places() -> None:
    f0 = torch.tensor([0.0, 60.0, 30.0, 500.0, 499.9, 900.0, -1.0])
    assert extract_pitch_bins(f0).tolist() == [0, 1, 1, 31, 31, 31, 0]
    centres = 60 * (500 / 60) ** ((torch.arange(31) + 0.5) / 31)
    assert extract_pitch_bins(centres).tolist() == list(range(1, 32))


@pytest.mark.parametrize(("form", "tables"), [("both", {"bins", "values"}), ("bins", {"bins"}), ("value", {"values"})])
def test_f0_is_told_as_bins_as_a_value_or_as_both(form: str, tables: set[str]) -> None:
    torch.manual_seed(0)
    embedding = PitchEmbedding(8, form)
    assert {name.partition(".")[0] for name in embedding.state_dict()} == tables
    low, high, silent = embedding(torch.tensor([[170.0, 340.0, 0.0]]))[0]
    assert not torch.allclose(low, high) and not torch.allclose(low, silent)
