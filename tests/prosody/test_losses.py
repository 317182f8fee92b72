"""What the predictor's outputs cost."""

import numpy as np
import torch

import pytest

from models.prosody_predictor import DURATION_EDGES, duration_classes
from prosody.batches import collate_prosody, crop_utterance, pitch_statistics
from prosody.losses import add_total, prosody_losses
from prosody_examples import NO_HABITS, make_utterances


def test_losses_of_perfect_and_of_mean_outputs() -> None:
    utterance = make_utterances()[0]
    batch = collate_prosody([crop_utterance(utterance, slice(0, 150), pitch_statistics([utterance]), NO_HABITS[0])], [])
    logits = torch.full((1, 150, len(DURATION_EDGES)), -50.0)
    logits.scatter_(2, duration_classes(batch.durations)[..., None], 50.0)
    perfect = prosody_losses((logits, 100 * (batch.voiced - 0.5), batch.log_f0), batch)
    assert all(value < 1e-4 for value in perfect.values())
    mean = prosody_losses((logits, 0 * batch.voiced, 0 * batch.log_f0), batch)
    assert mean["f0_variance"] == pytest.approx(1.0, abs=1e-3)
    assert mean["voicing_nat"] == pytest.approx(np.log(2), abs=1e-4)


def test_the_total_weighs_f0_and_its_movement() -> None:
    parts = {"duration_nat": 1.0, "voicing_nat": 2.0, "f0_variance": 4.0, "f0_slope_variance": 8.0}
    losses = {name: torch.tensor(value) for name, value in parts.items()}
    assert add_total(losses, f0_weight=0.5, slope_weight=0.25)["loss"] == 1 + 2 + 0.5 * (4 + 0.25 * 8)
    assert add_total(losses, f0_weight=0.0, slope_weight=1.0)["loss"] == 3 and "loss" not in losses
