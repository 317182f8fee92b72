"""--init: a prosody predictor that starts from another's weights."""

from pathlib import Path

import numpy as np
import torch

import pytest

from core.errors import UserError
from models.prosody_predictor import ProsodyPredictor
from prosody.prediction import Prosody
from prosody.warm_start import OldProsody, check_same_predictor, start_from
from units.kmeans import UnitClusters

SIZES = {"n_units": 6, "channels": 8, "unit_dilations": [1], "frame_dilations": [1, 2]}
CLUSTERS = UnitClusters([np.eye(6, 3, dtype=np.float32)], np.zeros(3, np.float32), np.ones(3, np.float32))


def old_prosody(n_speakers: int = 0) -> OldProsody:
    torch.manual_seed(1)
    sizes = SIZES | {"n_speakers": n_speakers}
    predictor = ProsodyPredictor(**sizes).eval()
    predictor.set_durations(torch.full_like(predictor.class_frames, 9.0), predictor.class_prior)
    return OldProsody(Path("old"), Prosody(predictor, [], {}, torch.device("cpu"), sizes=sizes), CLUSTERS)


@pytest.mark.parametrize("n_speakers", [0, 2])
def test_the_same_clusters_foretell_the_same_but_for_what_is_counted_here(n_speakers: int) -> None:
    old, new = old_prosody(), ProsodyPredictor(**SIZES, n_speakers=n_speakers).eval()
    frames = new.class_frames.clone()
    start_from(new, old, [], CLUSTERS)
    units, durations = torch.arange(6)[None], torch.full((1, 6), 3)
    for ours, theirs in zip(new(units, durations), old.prosody.predictor(units, durations)):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(new.class_frames, frames)


def test_old_speakers_become_their_mean() -> None:
    old, new = old_prosody(n_speakers=3), ProsodyPredictor(**SIZES)
    start_from(new, old, [], CLUSTERS)
    source = old.prosody.predictor
    expected = source.unit_embedding.weight + source.speaker_embedding.weight[1:].mean(dim=0)
    torch.testing.assert_close(new.unit_embedding.weight, expected)


def test_another_architecture_is_refused() -> None:
    wanted = SIZES | {"n_units": 99, "dropout": 0.5, "unit_dilations": (1,)}
    check_same_predictor(old_prosody(2), wanted)
    with pytest.raises(UserError, match="--init old: expected channels 16, found channels 8"):
        check_same_predictor(old_prosody(), wanted | {"channels": 16})
