"""Random disturbances: in time, at the ratio asked for, and the same for the same dice."""

import numpy as np

import pytest

from audio.augmentation import augment, babble, coloured_noise, mix_at, random_response, reverberate
from core.frames import SAMPLE_RATE


def speech(n_samples: int = 8000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


def test_augmented_speech_is_as_long_and_follows_the_dice() -> None:
    clip, others = speech(), [speech(5000, 1), speech(9000, 2)]
    one, same, other = (augment(clip, np.random.default_rng(seed), others) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert one.shape == clip.shape and one.dtype == np.float32 and not np.array_equal(one, other)


def test_every_kind_of_disturbance_is_drawn_and_stays_finite() -> None:
    heard = [augment(speech(4000), np.random.default_rng(seed), []) for seed in range(30)]
    assert all(np.isfinite(one).all() and one.shape == (4000,) for one in heard)
    assert any(not np.array_equal(one, speech(4000)) for one in heard)


@pytest.mark.parametrize("snr_db", [20, 5, -3])
def test_noise_has_the_power_asked_for(snr_db: float) -> None:
    clip = speech()
    added = mix_at(clip, coloured_noise(len(clip), np.random.default_rng(0)), snr_db) - clip
    found = 10 * np.log10(np.square(clip).mean() / np.square(added).mean())
    assert found == pytest.approx(snr_db, abs=0.01)


def test_silence_and_no_noise_leave_speech_as_it_is() -> None:
    clip = speech(100)
    np.testing.assert_array_equal(mix_at(clip, np.zeros(100), 0), clip)
    np.testing.assert_array_equal(mix_at(np.zeros(100, np.float32), clip, 0), np.zeros(100))
    assert mix_at(np.zeros(0, np.float32), np.zeros(0), 5).shape == (0,)


def test_the_direct_sound_keeps_its_place_and_level() -> None:
    """A click in a room begins when it began, at its height; the room comes after it."""
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 0.5
    heard = reverberate(click, random_response(np.random.default_rng(0)))
    assert len(heard) == len(click)
    np.testing.assert_allclose(heard[:101], click[:101], atol=1e-6)
    assert np.square(heard[101:]).sum() > 0


def test_babble_is_made_of_the_others() -> None:
    silent = babble(1000, np.random.default_rng(0), [np.zeros(300, np.float32)])
    assert not silent.any()
    assert babble(1000, np.random.default_rng(0), [speech(300)]).any()
