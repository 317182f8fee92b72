"""Audio in and out, and the only log-mel."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import librosa
import pytest
import soundfile

from audio.audio_io import (
    LOG_FLOOR,
    PCM_BLOCK,
    compute_mel_spectrogram,
    load_audio,
    load_crop,
    save_audio,
    save_audio_pieces,
    stream_audio,
)
from core.errors import UserError
from core.frames import N_MELS
from evaluation.mel_distance import compute_mel_distance
from synthetic import REPOSITORY, speech_like, write_mp3
from vocoder.losses import MEL_WINDOWS, mel_loss


# The log-mel
@pytest.mark.parametrize("n_samples", [320, 639, 640, 641, 16_000, 16_319])
@pytest.mark.parametrize("n_fft", sorted(MEL_WINDOWS))
def test_log_mel_has_one_frame_a_hop(n_samples: int, n_fft: int) -> None:
    waveform = torch.randn(2, n_samples)
    assert compute_mel_spectrogram(waveform, n_fft=n_fft).shape == (2, N_MELS, n_samples // 320)
    assert compute_mel_spectrogram(waveform, n_fft=n_fft, hop=n_fft // 4).shape[-1] == n_samples // (n_fft // 4)


def test_log_mel_equals_an_independent_computation() -> None:
    """Frame by frame in numpy with librosa's filters: amplitude (not power), natural log, floor, centred windows."""
    waveform = speech_like(0.5, seed=3)
    ours = compute_mel_spectrogram(torch.from_numpy(waveform)[None])[0].numpy()
    filters = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    padded = np.pad(waveform, 1024)
    for frame in range(ours.shape[1]):
        centre = 1024 + 320 * frame + 160
        spectrum = np.abs(np.fft.rfft(window * padded[centre - 512 : centre + 512]))
        np.testing.assert_allclose(ours[:, frame], np.log(np.maximum(filters @ spectrum, LOG_FLOOR)), atol=2e-3)


def test_log_mel_of_silence_is_the_floor_with_a_finite_gradient() -> None:
    waveform = torch.zeros(1, 3200, requires_grad=True)
    mel = compute_mel_spectrogram(waveform)
    mel.sum().backward()
    assert torch.allclose(mel, torch.full_like(mel, float(np.log(LOG_FLOOR))))
    assert torch.isfinite(waveform.grad).all()


def test_what_was_scored_first_can_be_trained_after() -> None:
    with torch.inference_mode():
        compute_mel_spectrogram(torch.randn(1, 3200), n_fft=768, n_mels=33)
    waveform = torch.randn(1, 3200, requires_grad=True)
    compute_mel_spectrogram(waveform, n_fft=768, n_mels=33).sum().backward()
    assert waveform.grad.abs().sum() > 0


def test_loss_and_score_use_the_same_log_mel() -> None:
    original, resynthesis = speech_like(1.0, seed=1), speech_like(1.0, seed=2)
    tensors = [torch.from_numpy(waveform)[None] for waveform in (resynthesis, original)]
    mels = [compute_mel_spectrogram(tensor) for tensor in tensors]
    assert compute_mel_distance(original, resynthesis) == pytest.approx((mels[0] - mels[1]).abs().mean().item())
    by_hand = [
        (
            compute_mel_spectrogram(tensors[0], n_fft=n_fft, hop=n_fft // 4, n_mels=n_mels)
            - compute_mel_spectrogram(tensors[1], n_fft=n_fft, hop=n_fft // 4, n_mels=n_mels)
        )
        .abs()
        .mean()
        .item()
        for n_fft, n_mels in MEL_WINDOWS.items()
    ]
    assert mel_loss(*tensors).item() == pytest.approx(np.mean(by_hand))
    assert mel_loss(tensors[0], tensors[0]).item() == 0.0


def test_the_loss_is_finite_down_to_one_frame() -> None:
    for n_frames in (1, 2, 7):
        loss = mel_loss(torch.randn(1, 320 * n_frames), torch.randn(1, 320 * n_frames))
        assert torch.isfinite(loss), n_frames


def test_every_band_of_every_window_hears_something() -> None:
    """A band narrower than an FFT bin would be empty: constant, whatever is said."""
    noise = torch.randn(1, 16_000)
    for n_fft, n_mels in MEL_WINDOWS.items():
        mel = compute_mel_spectrogram(noise, n_fft=n_fft, hop=n_fft // 4, n_mels=n_mels)
        assert (mel.std(dim=2) > 0).all(), n_fft


def test_no_other_module_makes_mel_bands() -> None:
    makers = re.compile(r"melscale_fbanks|MelSpectrogram\(|feature\.melspectrogram|filters\.mel\(")
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "src").rglob("*.py")
        if makers.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"src/audio/audio_io.py"}


# Files
def test_wav_round_trip_is_exact(tmp_path: Path) -> None:
    pcm = np.concatenate([np.arange(-32768, 32768, 7), [32767, -32768, 0]]).astype(np.int16)
    soundfile.write(tmp_path / "first.wav", pcm, 16000, subtype="PCM_16")
    waveform = load_audio(tmp_path / "first.wav")
    assert waveform.dtype == np.float32
    save_audio(tmp_path / "new" / "second.wav", waveform)
    written, rate = soundfile.read(tmp_path / "new" / "second.wav", dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(written, pcm)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["second.wav"]


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    save_audio(tmp_path / "loud.wav", np.array([-3.0, -1.0, 0.0, 1.0, 3.0]))
    written, _ = soundfile.read(tmp_path / "loud.wav", dtype="int16")
    np.testing.assert_array_equal(written, [-32768, -32768, 0, 32767, 32767])


def test_pieces_are_a_whole_wav_at_any_time(tmp_path: Path) -> None:
    waveform = 3 * speech_like(0.7)
    growing, pieces, lengths = tmp_path / "new" / "a.wav.part", np.split(waveform, [1, 1, 5000]), []

    def watched() -> Iterator[np.ndarray]:
        for piece in pieces:
            yield piece
            lengths.append(len(soundfile.read(growing)[0]))

    assert save_audio_pieces(tmp_path / "new" / "a.wav", watched()) == len(waveform)
    assert lengths == [1, 1, 5000, len(waveform)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]
    save_audio(tmp_path / "whole.wav", waveform)
    np.testing.assert_array_equal(load_audio(tmp_path / "new" / "a.wav"), load_audio(tmp_path / "whole.wav"))


def test_what_a_failure_leaves_is_not_taken_for_a_wav(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros(320)
        raise UserError("no more")

    with pytest.raises(UserError):
        save_audio_pieces(tmp_path / "a.wav", failing())
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav.part"]


def test_more_than_a_block_is_written_whole(tmp_path: Path) -> None:
    waveform = np.linspace(-1, 1, 2 * PCM_BLOCK + 3).astype(np.float32)
    save_audio(tmp_path / "long.wav", waveform)
    assert np.abs(load_audio(tmp_path / "long.wav") - waveform).max() <= 2**-15


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a"])
def test_streaming_equals_the_whole(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".ogg" else 22_050
    path = write_mp3(tmp_path / f"tone{suffix}", np.tile(speech_like(1.4), (2, 1)), sample_rate=rate)
    whole = load_audio(path)
    assert abs(len(whole) - 1.4 * 16000 * 16000 / rate) < 0.15 * 16000
    for block_seconds in (0.1, 0.37, 5.0):
        blocks = list(stream_audio(path, block_seconds=block_seconds))
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
        assert all(len(block) == int(block_seconds * 16000) for block in blocks[:-1])
        assert len(blocks[-1]) <= int(block_seconds * 16000)


def test_a_wav_of_another_rate_is_resampled_and_mixed(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    stereo = np.stack([0.4 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 440 * time)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 44_100)
    waveform = load_audio(tmp_path / "stereo.wav")
    assert abs(len(waveform) - 16_000) <= 32
    spectrum = np.abs(np.fft.rfft(waveform[:16_000], 16_000))
    assert abs(int(np.argmax(spectrum)) - 440) <= 1
    np.testing.assert_allclose(np.abs(waveform[2000:14_000]).max(), 0.3, rtol=0.02)


def test_loud_stereo_stays_within_one(tmp_path: Path) -> None:
    """FFmpeg's own mix to mono adds 3 dB to what both channels share, which would be clipped when segments are cut."""
    loud = np.tile(0.95 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050), (2, 1))
    waveform = load_audio(write_mp3(tmp_path / "loud.flac", loud, sample_rate=22_050))
    assert 0.9 < np.abs(waveform).max() <= 1.0


def test_a_wav_with_a_codec_that_libsndfile_lacks_is_decoded(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "inside.wav"), "w") as container:
        stream = container.add_stream("adpcm_swf", rate=22_050, layout="mono")
        pcm = (8000 * np.sin(2 * np.pi * 440 * np.arange(4 * 4096) / 22_050)).astype(np.int16)
        for start in range(0, len(pcm), 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate = 22_050
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(tmp_path / "inside.wav")
    assert len(load_audio(tmp_path / "inside.wav")) > 10_000


def test_crops_are_those_of_the_whole_and_zero_past_its_end(tmp_path: Path) -> None:
    save_audio(tmp_path / "a.wav", speech_like(0.5))
    whole = load_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(load_crop(tmp_path / "a.wav", 123, 640), whole[123:763])
    np.testing.assert_array_equal(load_crop(tmp_path / "a.wav", 7900, 320), np.pad(whole[7900:], (0, 220)))
    np.testing.assert_array_equal(load_crop(tmp_path / "a.wav", 9000, 320), np.zeros(320))


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac"])
@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is not audio " * 100])
def test_what_cannot_be_decoded_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    for read in (load_audio, lambda path: list(stream_audio(path))):
        with pytest.raises(UserError, match=f"broken{suffix}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing.mp3"):
        load_audio(tmp_path / "nothing.mp3")
    with pytest.raises(UserError, match="nothing.wav"):
        load_crop(tmp_path / "nothing.wav", 0, 320)


def test_crops_refuse_damaged_and_foreign_wavs(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"this is not audio " * 100)
    with pytest.raises(UserError, match="broken.wav"):
        load_crop(tmp_path / "broken.wav", 0, 320)
    soundfile.write(tmp_path / "rate.wav", np.zeros(8000), 8000)
    with pytest.raises(UserError, match="rate.wav.*8000 Hz.*segment_audio"):
        load_crop(tmp_path / "rate.wav", 0, 320)


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "silent.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(UserError, match="silent.m4a: expected an audio stream"):
        load_audio(tmp_path / "silent.m4a")
