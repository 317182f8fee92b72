"""segmentation/voice_activity.py: chunks equal the whole, memory is bounded, speech is told from noise."""

from importlib import resources

import numpy as np

import pytest

from segmentation import voice_activity
from segmentation.voice_activity import false_sound_in, find_speech, hear, keep_windows, speech_probabilities

silero_vad = pytest.importorskip("silero_vad", reason="needs the optional package silero-vad")
RATE = 16_000


@pytest.fixture(scope="module")
def bursts() -> np.ndarray:
    """(S,) 40 s of noise that comes and goes."""
    noise = np.random.default_rng(0).normal(0, 0.05, 40 * RATE).astype(np.float32)
    return noise * (np.arange(40 * RATE) % (5 * RATE) < 2 * RATE)


def test_blocks_of_any_length_are_handed_on_and_heard_alike(bursts: np.ndarray) -> None:
    heard: list[np.ndarray] = []
    parts = list(hear(np.split(bursts, [3, 3, 9_000, 500_001]), heard))
    np.testing.assert_array_equal(np.concatenate(parts), bursts)
    np.testing.assert_array_equal(np.concatenate(heard), speech_probabilities([bursts]))
    assert speech_probabilities([]).shape == (0,) and speech_probabilities([bursts[:100]]).shape == (1,)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parts_of_the_network_hear_what_the_whole_hears(bursts: np.ndarray) -> None:
    """Chunk by chunk, as the package itself does it, after the same run-up."""
    torch = voice_activity.torch
    whole = torch.jit.load(str(resources.files("silero_vad") / "data" / "silero_vad.jit"))
    silence = np.zeros(voice_activity.RUN_UP_CHUNKS * 512, np.float32)
    chunks = torch.from_numpy(np.concatenate([silence, bursts[: 60 * 512]]).reshape(-1, 1, 512))
    with torch.inference_mode():
        expected = [whole(chunk, RATE).item() for chunk in chunks][voice_activity.RUN_UP_CHUNKS :]
    np.testing.assert_allclose(speech_probabilities([bursts[: 60 * 512]]), expected, atol=1e-4)


def test_how_a_recording_is_parted_changes_little(bursts: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes begin after a run-up: what they hear is what one lane hears, but for the network's long memory."""
    several = speech_probabilities([bursts])
    monkeypatch.setattr(voice_activity, "LANE_CHUNKS", 2000)
    one = speech_probabilities([bursts])
    assert several.shape == one.shape == (-(-len(bursts) // 512),)
    assert np.mean((several > 0.5) == (one > 0.5)) > 0.98


def test_noise_is_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    active = np.ones(2000, bool)
    assert find_speech(speech_probabilities([noise]), 2000).mean() < 0.05
    windows: list = []
    assert sum(map(len, keep_windows(np.split(noise, 2), windows))) == len(noise)
    assert false_sound_in(windows, active) > 0.9


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
