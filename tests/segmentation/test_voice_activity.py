"""segmentation/voice_activity.py: chunks equal the whole, memory is bounded, speech is told from noise."""

import numpy as np

import pytest

from segmentation import voice_activity
from segmentation.voice_activity import false_sound, find_speech, keep_windows, regroup, speech_probabilities

silero_vad = pytest.importorskip("silero_vad", reason="needs the optional package silero-vad")
RATE = 16_000


def test_blocks_of_any_length_are_regrouped() -> None:
    whole = np.arange(1000, dtype=np.float32)
    parts = list(regroup(np.split(whole, [3, 3, 500, 501]), 128))
    assert [len(part) for part in parts] == [128] * 7 + [104]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_how_a_recording_is_parted_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes begin after a run-up: what they hear is what one lane hears, but for the network's long memory."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.05, 40 * RATE).astype(np.float32) * (np.arange(40 * RATE) % (5 * RATE) < 2 * RATE)
    several = speech_probabilities([noise])
    monkeypatch.setattr(voice_activity, "LANE_CHUNKS", 2000)
    one = speech_probabilities([noise])
    assert several.shape == one.shape == (-(-len(noise) // 512),)
    assert np.mean((several > 0.5) == (one > 0.5)) > 0.98


def test_noise_is_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    active = np.ones(2000, bool)
    assert find_speech(speech_probabilities([noise]), 2000).mean() < 0.05
    windows: list = []
    assert sum(map(len, keep_windows(np.split(noise, 2), windows))) == len(noise)
    assert false_sound(active, windows) > 0.9


def test_windows_are_spread_over_a_recording_of_any_length() -> None:
    windows: list = []
    for _ in keep_windows((np.zeros(30 * RATE, np.float32) for _ in range(200)), windows):
        pass
    firsts = [first for first, _ in windows]
    assert 8 <= len(windows) <= 32 and firsts[0] == 0 and firsts[-1] > 0.9 * 600_000 - 60_000
    assert np.ptp(np.diff(firsts)) <= np.median(np.diff(firsts))


def test_short_gaps_are_filled_and_clicks_dropped() -> None:
    probabilities = np.zeros(100, np.float32)
    probabilities[10:40] = 0.9
    probabilities[25:27] = 0.1  # 64 ms: a stop consonant
    probabilities[60:62] = 0.9  # 64 ms: a click
    runs = voice_activity.find_runs(find_speech(probabilities, 320))
    assert len(runs) == 1 and abs(runs[0][0] * 10 - 320) <= 16 and abs(runs[0][1] * 10 - 1280) <= 16
