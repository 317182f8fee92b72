"""Who speaks: vectors that do not depend on level or silence, kept beside the recordings."""

import os
import time
from pathlib import Path

import numpy as np
import torch

import pytest

from audio.audio_io import load_audio, save_audio
from audio.track_store import N_BUCKETS, bucket_file
from core.errors import UserError
from core.packed_files import name_key
from encoders import speaker_vectors
from encoders.speaker_vectors import (
    cut_windows,
    fill_speaker_vectors,
    kept_speaker_vector,
    known_speaker_vector,
    mean_vector,
    require_speaker_encoder,
    speaker_mel,
    speaker_vector,
)
from models.speaker_encoder import SpeakerEncoder
from synthetic import speech_like


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> SpeakerEncoder:
    torch.manual_seed(0)
    encoder = SpeakerEncoder(width=16).eval()
    monkeypatch.setattr(speaker_vectors, "load_speaker_encoder", lambda: encoder)
    return encoder


def test_windows_cover_a_recording_and_repeat_a_short_one() -> None:
    mel = torch.arange(10.0)[:, None].expand(-1, 40)
    (short,) = cut_windows(mel)
    assert short[:, 0].tolist() == [float(frame % 10) for frame in range(160)]
    starts = cut_windows(torch.arange(250.0)[:, None].expand(-1, 40))[:, 0, 0].tolist()
    assert starts == [0, 80, 90] and cut_windows(torch.ones(160, 40)).shape == (1, 160, 40)


def test_level_and_silence_do_not_count(tiny: SpeakerEncoder) -> None:
    waveform = speech_like(2.0)
    vector = speaker_vector(waveform)
    assert (
        vector.shape == (256,) and vector.dtype == np.float32 and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    )
    np.testing.assert_allclose(speaker_vector(0.1 * waveform), vector, atol=1e-4)
    silent = np.concatenate([np.zeros(16_000, np.float32), waveform, np.zeros(32_000, np.float32)])
    heard, with_silence = speaker_mel(waveform), speaker_mel(silent)
    assert abs(len(with_silence) - len(heard)) <= 4
    assert with_silence.mean().item() == pytest.approx(heard.mean().item(), rel=0.05)
    other = speaker_vector(speech_like(2.0, pitch_hz=240.0))
    assert other @ vector < speaker_vector(silent) @ vector


def test_a_recording_without_sound_or_sample_has_a_vector_too(tiny: SpeakerEncoder) -> None:
    assert np.isfinite(speaker_vector(np.zeros(1600, np.float32))).all()
    assert not speaker_vector(np.zeros(0, np.float32)).any()


def test_vectors_are_kept_until_the_audio_is_newer(
    tiny: SpeakerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio, cache = tmp_path / "a.wav", tmp_path / "cache"
    save_audio(audio, speech_like(1.0))
    fill_speaker_vectors(cache, [("a", audio)])
    before = kept_speaker_vector(cache, "a").copy()
    np.testing.assert_array_equal(before, speaker_vector(load_audio(audio)))
    monkeypatch.setattr(speaker_vectors, "speaker_vector", lambda waveform: np.ones(256, np.float32))
    fill_speaker_vectors(cache, [("a", audio)])
    np.testing.assert_array_equal(known_speaker_vector(cache, "a", audio), before)
    later = time.time() + 10
    os.utime(audio, (later, later))
    assert known_speaker_vector(cache, "a", audio).all()
    np.testing.assert_array_equal(kept_speaker_vector(cache, "a"), before)  # one that is only looked up is not kept
    fill_speaker_vectors(cache, [("a", audio)])
    assert kept_speaker_vector(cache, "a").all()


def test_vectors_of_many_recordings_are_few_files_and_a_damaged_one_is_made_again(
    tiny: SpeakerEncoder, tmp_path: Path
) -> None:
    audio, cache = tmp_path / "a.wav", tmp_path / "cache"
    save_audio(audio, speech_like(0.5))
    names = [f"{number}" for number in range(300)]
    fill_speaker_vectors(cache, [(name, audio) for name in names])
    files = sorted((cache / "speaker_resemblyzer").glob("*"))
    assert N_BUCKETS - 2 < len(files) <= N_BUCKETS
    known = kept_speaker_vector(cache, "7").copy()
    bucket_file(cache / "speaker_resemblyzer", name_key("7")).write_bytes(b"torn")
    with pytest.raises(UserError, match="expected the 256 numbers of who speaks in 7, found 0"):
        kept_speaker_vector(cache, "7")
    fill_speaker_vectors(cache, [(name, audio) for name in names])
    np.testing.assert_array_equal(kept_speaker_vector(cache, "7"), known)


def test_the_mean_is_as_long_as_its_vectors() -> None:
    np.testing.assert_allclose(mean_vector([np.array([1.0, 0]), np.array([0, 1.0])]), [0.5**0.5] * 2, rtol=1e-6)


def test_who_lacks_the_package_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker_vectors.load_speaker_encoder.cache_clear()
    monkeypatch.setattr(speaker_vectors, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps resemblyzer"):
        require_speaker_encoder(tmp_path)
    (tmp_path / "speaker_resemblyzer").mkdir()
    (tmp_path / "speaker_resemblyzer" / "a.npy").touch()  # as earlier versions kept them
    with pytest.raises(UserError, match="pip install --no-deps resemblyzer"):
        require_speaker_encoder(tmp_path)
    (tmp_path / "speaker_resemblyzer" / "00.f0").touch()
    require_speaker_encoder(tmp_path)


def test_the_published_weights_know_a_voice_from_another() -> None:
    if speaker_vectors.find_spec("resemblyzer") is None:
        pytest.skip("resemblyzer is not installed")
    low, again, high = (speech_like(3.0, seed, pitch_hz=pitch) for seed, pitch in ((0, 110), (1, 110), (2, 230)))
    vectors = [speaker_vector(waveform) for waveform in (low, again, high)]
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
