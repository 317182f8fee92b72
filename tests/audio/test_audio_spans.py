"""Parts of recordings and audio in memory: the same samples as the whole file, whatever the format."""

import wave
from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from audio.audio_spans import audio_seconds, change_speed, decode_bytes, load_span, resample
from core.errors import UserError
from core.frames import SAMPLE_RATE
from synthetic import speech_like, write_mp3


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a", ".wav"])
def test_a_span_holds_the_samples_of_the_whole(suffix: str, tmp_path: Path) -> None:
    path = write_mp3(tmp_path / f"a{suffix}", speech_like(20.0, seed=1))
    whole = load_audio(path)
    for start, end in ((0.0, 1.5), (0.3, 2.0), (12.345, 14.0)):
        expected = whole[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        np.testing.assert_allclose(load_span(path, start, end), expected, atol=0.02)
    np.testing.assert_allclose(load_span(path, 15.0, float("inf")), whole[15 * SAMPLE_RATE :], atol=0.02)
    np.testing.assert_array_equal(load_span(path, 0.0, float("inf")), whole)


def test_a_span_of_resampled_stereo_lies_where_it_should(tmp_path: Path) -> None:
    speech = speech_like(12.0, seed=2)
    path = write_mp3(tmp_path / "a.mp3", np.stack([speech, speech]), sample_rate=44100)  # plays 2.76 times as fast
    whole = load_audio(path)
    found, expected = load_span(path, 2.0, 3.0), whole[2 * SAMPLE_RATE : 3 * SAMPLE_RATE]
    lags = [float(np.dot(found[200:-200], np.roll(expected, lag)[200:-200])) for lag in range(-20, 21)]
    assert abs(int(np.argmax(lags)) - 20) <= 1
    assert max(lags) > 0.85 * float(np.dot(expected, expected))


def test_a_span_ends_with_its_recording(tmp_path: Path) -> None:
    for suffix in (".wav", ".mp3"):
        path = write_mp3(tmp_path / f"a{suffix}", speech_like(3.0))
        assert len(load_span(path, 2.0, 9.0)) == SAMPLE_RATE
        assert len(load_span(path, 7.0, 9.0)) == 0


def test_lengths_are_those_of_the_decoded_sound(tmp_path: Path) -> None:
    for suffix in (".mp3", ".flac", ".ogg", ".m4a", ".wav"):
        path = write_mp3(tmp_path / f"a{suffix}", speech_like(4.5))
        assert audio_seconds(path) == audio_seconds(path.read_bytes()) == len(load_audio(path)) / SAMPLE_RATE
        assert audio_seconds(path) == pytest.approx(4.5, abs=0.15)
    with pytest.raises(UserError, match="decodable audio"):
        audio_seconds(b"this is no sound")


def test_bytes_decode_as_files_do(tmp_path: Path) -> None:
    save_audio(tmp_path / "plain.wav", speech_like(1.0))
    np.testing.assert_array_equal(
        decode_bytes((tmp_path / "plain.wav").read_bytes()), load_audio(tmp_path / "plain.wav")
    )
    for suffix in (".mp3", ".flac", ".m4a"):
        path = write_mp3(tmp_path / f"a{suffix}", speech_like(1.0), sample_rate=44100)
        np.testing.assert_array_equal(decode_bytes(path.read_bytes()), load_audio(path))
    with pytest.raises(UserError, match="decodable audio"):
        decode_bytes(b"this is no sound")


def test_eight_bit_stereo_bytes_become_mono_at_16_khz(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "old.wav"), "wb") as out:
        out.setparams((2, 1, 8000, 0, "NONE", ""))
        out.writeframes(bytes([128 + 64, 128 - 64] * 8000))
    found = decode_bytes((tmp_path / "old.wav").read_bytes())
    assert len(found) == SAMPLE_RATE
    assert np.abs(found).max() < 0.02  # left and right cancel


def test_arrays_of_any_shape_and_rate() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    for samples in (tone, tone[None], np.stack([tone, tone]), np.stack([tone, tone], axis=1)):
        found = resample(samples, 44100)
        assert found.shape == (16000,)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=5e-3)
    np.testing.assert_allclose(resample(np.array([16384, -32768], np.int16), 16000), [0.5, -1.0])
    np.testing.assert_allclose(resample(np.array([2**30, -(2**31)], np.int32), 16000), [0.5, -1.0])
    np.testing.assert_allclose(resample(np.array([64, -128], np.int8), 16000), [0.5, -1.0])
    np.testing.assert_allclose(resample(np.array([192, 0], np.uint8), 16000), [0.5, -1.0])
    np.testing.assert_allclose(resample(np.array([16384, -32768], np.int64), 16000), [0.5, -1.0])
    np.testing.assert_allclose(resample(np.array([2**30, -(2**31)], np.int64), 16000), [0.5, -1.0])


def test_speed_changes_length_and_pitch_alike() -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    for speed in (0.9, 1.1):
        changed = change_speed(tone, speed)
        assert len(changed) == pytest.approx(SAMPLE_RATE / speed, abs=2)
        peak = np.abs(np.fft.rfft(changed, 1 << 17)).argmax() * SAMPLE_RATE / (1 << 17)
        assert peak == pytest.approx(400 * speed, abs=1)
    assert change_speed(tone, 1.0) is tone
