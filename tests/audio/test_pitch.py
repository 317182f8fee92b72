"""F0: right, aligned, counted alike, cached."""

import os
import time
from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from audio.pitch import extract_f0, f0_store, fill_f0_cache, kept_f0
from audio.track_store import N_BUCKETS, count_stored_frames
from core.errors import UserError
from core.frames import samples_to_frames
from core.packed_files import name_key
from synthetic import speech_like


def harmonic_tone(f0: np.ndarray, n_harmonics: int = 12) -> np.ndarray:
    """(S,) F0 in Hz a sample -> (S,) float32 sum of harmonics 1/k, peak 0.3."""
    phase = 2 * np.pi * np.cumsum(f0) / 16000
    tone = sum(np.sin(k * phase) / k for k in range(1, n_harmonics + 1))
    return (0.3 * tone / np.abs(tone).max()).astype(np.float32)


def filled(cache: Path, audio: Path) -> np.ndarray:
    """F0 of the recording "a", once the cache has been filled."""
    fill_f0_cache(cache, [("a", audio)], num_workers=1)
    return np.array(kept_f0(cache, "a"))


@pytest.mark.parametrize("hertz", [70.0, 111.0, 170.0, 233.3, 340.0, 480.0])
def test_f0_of_a_tone_within_one_percent(hertz: float) -> None:
    f0 = extract_f0(harmonic_tone(np.full(16_000, hertz)))
    assert f0.dtype == np.float32
    np.testing.assert_allclose(f0[2:-2], hertz, rtol=0.01)


@pytest.mark.parametrize("step_frame", [20, 31])
def test_a_step_in_f0_lands_in_its_frame(step_frame: int) -> None:
    f0 = np.where(np.arange(51 * 320) < step_frame * 320, 110.0, 200.0)
    found = extract_f0(harmonic_tone(f0))
    np.testing.assert_allclose(found[5 : step_frame - 2], 110.0, rtol=0.02)
    np.testing.assert_allclose(found[step_frame + 2 : -3], 200.0, rtol=0.02)


def test_voicing_starts_and_ends_in_its_frame() -> None:
    """Frame i is centred on sample 320 i + 160: a tone of frames 20 to 39 is voiced there and nowhere else."""
    waveform = 1e-4 * np.random.default_rng(0).standard_normal(60 * 320)
    waveform[20 * 320 : 40 * 320] += harmonic_tone(np.full(20 * 320, 150.0))
    voiced = np.flatnonzero(extract_f0(waveform) > 0)
    assert abs(voiced[0] - 20) <= 1 and abs(voiced[-1] - 39) <= 1
    # Symmetric, so that pitch is neither early nor late.
    assert voiced[0] + voiced[-1] == 59


def test_silence_and_noise_are_unvoiced() -> None:
    assert not extract_f0(np.zeros(8000, np.float32)).any()
    noise = np.random.default_rng(0).normal(scale=0.1, size=16_000)
    assert (extract_f0(noise) > 0).mean() < 0.1


@pytest.mark.parametrize("k", [1, 2, 3, 50, 101])
def test_exact_counts_around_frame_borders(k: int) -> None:
    waveform = speech_like(2.1)
    for n_samples in range(320 * k - 3, 320 * k + 4):
        assert len(extract_f0(waveform[:n_samples])) == samples_to_frames(n_samples)
    assert len(extract_f0(waveform[:0])) == 0


def test_samples_after_the_last_frame_change_nothing() -> None:
    waveform = speech_like(1.0)
    np.testing.assert_array_equal(extract_f0(waveform[:9600]), extract_f0(waveform[: 9600 + 319]))


def test_cache_is_used_and_renewed_when_the_audio_changes(tmp_path: Path) -> None:
    audio, cache = tmp_path / "a.wav", tmp_path / "cache"
    save_audio(audio, harmonic_tone(np.full(16_000, 110.0)))
    first = filled(cache, audio)
    np.testing.assert_array_equal(first, extract_f0(load_audio(audio)))
    (kept,) = cache.rglob("*.f0")
    before = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(filled(cache, audio), first)
    assert kept.stat().st_mtime_ns == before

    save_audio(audio, harmonic_tone(np.full(16_000, 220.0)))
    later = time.time_ns() + 10**9
    os.utime(audio, ns=(later, later))
    np.testing.assert_allclose(filled(cache, audio)[2:-2], 220.0, rtol=0.01)


def test_the_cache_fills_in_processes_with_the_same_values(tmp_path: Path) -> None:
    """Many recordings, few files; what is added later leaves what was there."""
    recordings, cache = [], tmp_path / "cache"
    for number in range(80):
        path = tmp_path / f"{number}.wav"
        save_audio(path, speech_like(0.1 + 0.02 * (number % 7), seed=number))
        recordings.append((path.stem, path))
    fill_f0_cache(cache, recordings[:70], num_workers=2)
    fill_f0_cache(cache, recordings, num_workers=1)
    assert len([*cache.rglob("*.f0")]) <= N_BUCKETS and not [*cache.rglob("*.tmp")]
    for name, path in recordings:
        np.testing.assert_array_equal(kept_f0(cache, name), extract_f0(load_audio(path)))
    keys = np.array([name_key(name) for name, _ in recordings] + [name_key("unknown")], np.uint64)
    assert count_stored_frames(f0_store(cache), keys).tolist() == [
        *(len(extract_f0(load_audio(path))) for _, path in recordings),
        -1,
    ]


def test_a_recording_of_another_size_is_computed_again(tmp_path: Path) -> None:
    audio, cache = tmp_path / "a.wav", tmp_path / "cache"
    save_audio(audio, harmonic_tone(np.full(16_000, 110.0)))
    fill_f0_cache(cache, [("a", audio)], num_workers=1)
    save_audio(audio, harmonic_tone(np.full(8_000, 220.0)))
    os.utime(audio, ns=(0, 0))
    fill_f0_cache(cache, [("a", audio)], num_workers=1)
    np.testing.assert_allclose(kept_f0(cache, "a")[2:-2], 220.0, rtol=0.01)


def test_a_missing_recording_is_an_error_not_silence(tmp_path: Path) -> None:
    """PEERS: exceptions turned into silent zero batches."""
    with pytest.raises(UserError, match="gone.wav"):
        fill_f0_cache(tmp_path / "cache", [("gone", tmp_path / "gone.wav")], num_workers=1)
    assert not list(tmp_path.rglob("*.f0"))
    with pytest.raises(UserError, match="expected F0 of gone, found none"):
        kept_f0(tmp_path / "cache", "gone")


def test_what_was_computed_before_a_broken_recording_is_kept(tmp_path: Path) -> None:
    good, cache = tmp_path / "good.wav", tmp_path / "cache"
    save_audio(good, speech_like(0.3))
    number = name_key("good") % N_BUCKETS
    same_bucket = next(f"gone{i}" for i in range(10_000) if name_key(f"gone{i}") % N_BUCKETS == number)
    with pytest.raises(UserError, match="gone"):
        fill_f0_cache(cache, [("good", good), (same_bucket, tmp_path / "gone.wav")], num_workers=1)
    assert len(kept_f0(cache, "good")) == 15
