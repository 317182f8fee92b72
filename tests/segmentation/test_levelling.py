"""The level of speech: far from the usual one it is brought there, near it nothing is touched."""

import numpy as np

import pytest

from segmentation.levelling import HEADROOM_DB, SPEECH_DB, TOLERATED_DB, amplify, level_gain_db, level_speech
from segmentation.pauses import find_active, find_threshold, measure_levels
from synthetic import speech_like


def at_level(level_db: float, seed: int = 0) -> np.ndarray:
    """Speech with pauses, its louder parts at ``level_db`` of full scale."""
    waveform = speech_like(6.0, seed).astype(np.float32)
    return amplify(waveform, level_db - speech_db(waveform))


def speech_db(waveform: np.ndarray) -> float:
    """Level of the steps within 10 dB of the mean of what is not silent, dB; apart from the code under test."""
    power = np.square(waveform[: len(waveform) // 160 * 160].reshape(-1, 160)).mean(axis=1)
    power = power[power > power.max() / 1e3]
    return 10 * np.log10(power[power > 0.1 * power.mean()].mean())


@pytest.mark.parametrize("level_db", [-45.0, -30.0, -22.0, -11.0])
def test_soft_and_loud_speech_come_to_the_usual_level(level_db: float) -> None:
    levelled = level_speech(at_level(level_db))
    assert speech_db(levelled) == pytest.approx(SPEECH_DB, abs=1.0)


@pytest.mark.parametrize("level_db", [SPEECH_DB - TOLERATED_DB + 1, SPEECH_DB, SPEECH_DB + TOLERATED_DB - 1])
def test_near_the_usual_level_no_sample_changes(level_db: float) -> None:
    waveform = at_level(level_db)
    assert level_speech(waveform) is waveform


def test_a_recording_with_loud_moments_is_raised_less() -> None:
    waveform = at_level(-40.0)
    waveform[16000:24000] *= 20  # half a second of shouting, 26 dB louder
    gain = gain_of(waveform)
    loudest = 10 * np.log10(np.square(waveform[16000:24000]).reshape(-1, 160).mean(axis=1).max())
    assert 0 <= gain < -17 + 40 and loudest + gain < -HEADROOM_DB + 2


def gain_of(waveform: np.ndarray) -> float:
    levels, _, _ = measure_levels([waveform])
    return level_gain_db(levels, find_active(levels, find_threshold(levels, 10.0)))


def test_silence_and_nothing_stay() -> None:
    assert gain_of(np.zeros(16000, np.float32)) == 0
    assert level_gain_db(np.zeros(0, np.uint8), np.zeros(0, bool)) == 0


def test_gain_does_not_depend_on_where_pauses_are() -> None:
    waveform = at_level(-35.0)
    padded = np.concatenate([np.zeros(48000, np.float32), waveform, np.zeros(80000, np.float32)])
    assert gain_of(padded) == pytest.approx(gain_of(waveform), abs=1.0)
