"""Disturbed speech: as long as before, at the same time, and disturbed by as much as is said."""

import numpy as np

import pytest

from audio.disturbances import DISTURBANCES, add_noise, shift
from synthetic import speech_like


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like(1.0, seed=3)


@pytest.mark.parametrize("name", [name for name in DISTURBANCES if not name.startswith("shift")])
def test_what_is_heard_is_the_same_speech_at_the_same_time(name: str, speech: np.ndarray) -> None:
    """A codec's delay would look like a change of units."""
    heard = DISTURBANCES[name](speech)
    assert heard.dtype == np.float32 and len(heard) == len(speech)
    assert not np.array_equal(heard, speech)
    correlation = np.correlate(heard, speech[400:-400], mode="valid")
    assert abs(int(correlation.argmax()) - 400) <= 2


def test_a_shift_is_in_milliseconds(speech: np.ndarray) -> None:
    np.testing.assert_array_equal(shift(speech, 10), speech[160:])
    np.testing.assert_array_equal(DISTURBANCES["shift_5ms"](speech), speech[80:])


@pytest.mark.parametrize("snr_db", [20, 10])
def test_noise_has_the_power_that_is_said(snr_db: int, speech: np.ndarray) -> None:
    noise = add_noise(speech, snr_db) - speech
    found = 10 * np.log10(np.square(speech).mean() / np.square(noise).mean())
    assert found == pytest.approx(snr_db, abs=0.3)
    np.testing.assert_array_equal(add_noise(speech, snr_db), add_noise(speech, snr_db))
    assert not add_noise(np.zeros(100, np.float32), snr_db).any()
