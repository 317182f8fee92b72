"""What units do on average, and a predictor that starts from it."""

import numpy as np
import torch

import pytest

from models.prosody_predictor import DURATION_CLASSES, LOG_DURATION, LOG_F0, N_HABITS, VOICING, ProsodyPredictor
from prosody.batches import N_FOLDS, draw_batch, duration_statistics, fold_of, pitch_statistics
from prosody.habits import cross_habits
from prosody_examples import N_UNITS, make_utterances

UTTERANCES = make_utterances((150, 120, 130), (None, None, None))
STATISTICS = pitch_statistics(UTTERANCES)


@pytest.fixture(scope="module")
def habits() -> np.ndarray:
    return cross_habits(UTTERANCES, STATISTICS, N_UNITS + 1)  # the last unit never occurs


def test_what_each_unit_does(habits: np.ndarray) -> None:
    assert habits.shape == (N_FOLDS + 1, N_UNITS + 1, N_HABITS) and np.isfinite(habits).all()
    of_all = habits[0, :N_UNITS]
    assert (of_all[::2, VOICING] > 1).all() and (of_all[1::2, VOICING] < -1).all()
    pitch = of_all[::2, LOG_F0]
    assert (np.diff(pitch) > 0).all() and (of_all[1::2, LOG_F0] == 0).all()
    for unit, (log_duration, *shares) in enumerate(of_all[:, LOG_DURATION:]):
        assert np.argmax(shares) == unit % 4, "units last 1 to 4 frames, by their number"
        assert log_duration == pytest.approx(np.log(1 + unit % 4), abs=0.2)


def test_a_rare_unit_lies_near_the_average(habits: np.ndarray) -> None:
    share = np.mean(np.concatenate([utterance.f0 for utterance in UTTERANCES]) > 0)
    assert habits[0, N_UNITS, VOICING] == pytest.approx(np.log(share / (1 - share)), abs=1e-4)
    assert (habits[0, N_UNITS, DURATION_CLASSES:] == 0).all() and habits[0, N_UNITS, LOG_F0] == 0


def test_durations_are_distributions(habits: np.ndarray) -> None:
    _, log_frequency = duration_statistics(UTTERANCES)
    shares = np.exp(habits[0, :, DURATION_CLASSES:] + log_frequency.numpy())
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-3)


def test_no_utterance_learns_from_itself(habits: np.ndarray) -> None:
    changed = [UTTERANCES[0]._replace(f0=2 * UTTERANCES[0].f0), *UTTERANCES[1:]]
    again = cross_habits(changed, STATISTICS, N_UNITS + 1)
    moved = (again != habits).any(axis=(1, 2))
    assert not moved[fold_of(0)] and moved[fold_of(1)] and moved[0]
    flags = {"step": 0, "batch_size": 6, "crop_units": 40, "seed": 0, "habits": habits}
    batch = draw_batch(UTTERANCES, np.array([1]), STATISTICS, [], **flags)
    assert (batch.habits.numpy() == habits[fold_of(1)][batch.units.numpy()]).all()


def test_a_new_predictor_says_what_units_do(habits: np.ndarray) -> None:
    torch.manual_seed(0)
    predictor = ProsodyPredictor(N_UNITS + 1, habits=True, channels=24).eval()
    predictor.set_habits(torch.from_numpy(habits[0]))
    units, durations = torch.tensor([[0, 5, 2], [3, 1, -1]]), torch.tensor([[1, 2, 1], [2, 1, 0]])
    logits, voicing, log_f0 = predictor(units, durations)
    rows = torch.from_numpy(habits[0])[[0, 5, 5, 2]]
    assert torch.equal(voicing[0], rows[:, VOICING]) and torch.equal(log_f0[0], rows[:, LOG_F0])
    assert torch.equal(logits[0, 1], torch.from_numpy(habits[0, 5, DURATION_CLASSES:]))
    assert voicing[1, 3] == log_f0[1, 3] == 0
    torch.nn.init.ones_(predictor.frame_head.weight)
    own = predictor.look_up(units)
    assert not torch.equal(predictor(units, durations)[1], predictor(units, durations, None, own + 1)[1] - 1)


def test_older_checkpoints_know_no_habits() -> None:
    torch.manual_seed(0)
    old = ProsodyPredictor(N_UNITS, channels=24)
    assert not any("habit" in name for name in old.state_dict())
    units, durations = torch.arange(6)[None], torch.ones(1, 6, dtype=torch.int64)
    old.eval()
    given = torch.randn(1, 6, N_HABITS)
    assert torch.equal(old(units, durations)[1], old(units, durations, None, given)[1])
    assert old(units, durations)[1].abs().max() > 0
