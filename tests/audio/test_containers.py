"""One recording in every container and codec that phones, recorders and archives write: the same sound is read."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torchaudio

import av
import pytest
import soundfile

from audio.audio_io import load_audio, stream_audio
from audio.audio_spans import audio_seconds, decode_bytes, load_span, resample
from core.errors import UserError

RATE = 16_000
BIT_RATES = {"libopencore_amrnb": 12_200, "wmav2": 64_000, "aac": 96_000, "libmp3lame": 96_000, "libopus": 48_000}
# name of the file: (container, codec, sample rate, layout, least correlation with the original)
FORMATS = {
    "whatsapp.opus": ("ogg", "libopus", 48_000, "mono", 0.98),
    "note.ogg": ("ogg", "vorbis", 44_100, "stereo", 0.95),
    "browser.webm": ("webm", "libopus", 48_000, "mono", 0.98),
    "iphone.m4a": ("ipod", "aac", 44_100, "mono", 0.98),
    "lossless.m4a": ("ipod", "alac", 44_100, "stereo", 0.99),
    "bare.aac": ("adts", "aac", 44_100, "mono", 0.9),
    "film.mp4": ("mp4", "aac", 48_000, "stereo", 0.98),
    "film.mov": ("mov", "aac", 48_000, "mono", 0.98),
    "film.mkv": ("matroska", "ac3", 48_000, "stereo", 0.97),
    "old phone.3gp": ("3gp", "libopencore_amrnb", 8_000, "mono", 0.8),
    "voice.amr": ("amr", "libopencore_amrnb", 8_000, "mono", 0.8),
    "windows.wma": ("asf", "wmav2", 44_100, "mono", 0.95),
    "film.avi": ("avi", "mp2", 48_000, "mono", 0.95),
    "song.mp3": ("mp3", "libmp3lame", 44_100, "stereo", 0.98),
    "low.mp3": ("mp3", "libmp3lame", 22_050, "mono", 0.97),
    "archive.flac": ("flac", "flac", 44_100, "stereo", 0.99),
    "mac.aiff": ("aiff", "pcm_s16be", 44_100, "mono", 0.99),
    "mac.caf": ("caf", "pcm_s16le", 48_000, "mono", 0.99),
    "large.w64": ("w64", "pcm_s16le", 48_000, "mono", 0.99),
    "studio.wav": ("wav", "pcm_s24le", 48_000, "stereo", 0.99),
    "float.wav": ("wav", "pcm_f32le", 96_000, "mono", 0.99),
    "plain.wav": ("wav", "pcm_s16le", 16_000, "mono", 0.999),
    "dictaphone.wav": ("wav", "adpcm_ima_wav", 22_050, "mono", 0.98),
    "telephone.wav": ("wav", "pcm_alaw", 8_000, "mono", 0.9),
    "sun.au": ("au", "pcm_mulaw", 16_000, "mono", 0.99),
    "pack.wv": ("wv", "wavpack", 44_100, "mono", 0.99),
    "true.tta": ("tta", "tta", 44_100, "mono", 0.99),
}


def melody(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """(S,) float32: tones below 3 kHz that change every 0.4 s, so that no two places sound alike."""
    random, pieces = np.random.default_rng(seed), []
    for _ in range(int(np.ceil(seconds / 0.4))):
        time = np.arange(int(0.4 * rate)) / rate
        tones = sum(np.sin(2 * np.pi * random.uniform(250, 2800) * time + random.uniform(0, 6)) for _ in range(3))
        pieces.append(0.2 * tones * np.hanning(len(time)) ** 0.3)
    return np.concatenate(pieces)[: int(seconds * rate)].astype(np.float32)


def encode(target: Path | io.BytesIO, form: tuple[str, str, int, str], waveform: np.ndarray) -> None:
    """Write (S,) float32 at 16 kHz in a (container, codec, sample rate, layout), as FFmpeg does."""
    container, codec, rate, layout = form
    if codec == "vorbis":  # FFmpeg's own encoder is an experiment
        samples = resample_to(waveform, rate)
        soundfile.write(target, np.stack([samples] * 2, axis=1), rate, format="OGG", subtype="VORBIS")
        return
    with av.open(str(target) if isinstance(target, Path) else target, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = layout
        if codec in BIT_RATES:
            stream.bit_rate = BIT_RATES[codec]
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        resampler = av.AudioResampler(
            format=stream.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size,
        )
        for source in (frame, None):
            for part in resampler.resample(source):
                out.mux(stream.encode(part))
        out.mux(stream.encode(None))


def resample_to(waveform: np.ndarray, rate: int) -> np.ndarray:
    return torchaudio.functional.resample(torch.from_numpy(waveform), RATE, rate).numpy()


def alike(found: np.ndarray, expected: np.ndarray, reach: float = 0.15) -> float:
    """The largest correlation of two waveforms over shifts of up to ``reach`` seconds (codecs delay)."""
    length = min(len(found), len(expected))
    spectrum = np.fft.rfft(found[:length], 2 * length) * np.conj(np.fft.rfft(expected[:length], 2 * length))
    products, far = np.fft.irfft(spectrum), int(reach * RATE)
    return max(products[:far].max(), products[-far:].max()) / (
        np.linalg.norm(found[:length]) * np.linalg.norm(expected[:length]) + 1e-9
    )


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_sound_comes_out_of_every_format(tmp_path: Path, name: str) -> None:
    *form, least = FORMATS[name]
    expected = melody(6.0)
    encode(tmp_path / name, form, expected)
    found = load_audio(tmp_path / name)
    assert found.dtype == np.float32 and abs(len(found) - len(expected)) < 0.2 * RATE
    assert alike(found, expected) > least
    assert audio_seconds(tmp_path / name) == len(found) / RATE
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(tmp_path / name))), found)
    # By content, not by name.
    (tmp_path / name).rename(tmp_path / "nameless")
    np.testing.assert_array_equal(load_audio(tmp_path / "nameless"), found)


@pytest.mark.parametrize("name", FORMATS)
def test_a_span_is_the_sound_of_that_place_in_every_format(tmp_path: Path, name: str) -> None:
    encode(tmp_path / name, FORMATS[name][:4], melody(20.0))
    whole = load_audio(tmp_path / name)
    for start, end in ((2.0, 3.5), (3.0, 9.0), (15.0, 16.0), (1.0, 2.0), (18.0, float("inf"))):
        span = load_span(tmp_path / name, start, end)
        np.testing.assert_array_equal(span, whole[round(start * RATE) : None if end > 1e9 else round(end * RATE)])


def test_a_header_that_states_a_wrong_average_moves_no_span(tmp_path: Path) -> None:
    """Seeking in a WAV goes by its bytes a second, which FFmpeg itself states wrongly for ADPCM."""
    path = tmp_path / "lying.wav"
    encode(path, ("wav", "adpcm_ms", 22_050, "mono"), melody(30.0))
    content = bytearray(path.read_bytes())
    place = content.index(b"fmt ") + 8 + 8
    struct.pack_into("<I", content, place, 3 * struct.unpack_from("<I", content, place)[0])
    path.write_bytes(content)
    np.testing.assert_array_equal(load_span(path, 20.0, 22.0), load_audio(path)[20 * RATE : 22 * RATE])


@pytest.mark.parametrize("codec", ["libopus", "vorbis"])
def test_a_chained_ogg_is_read_to_its_end(tmp_path: Path, codec: str) -> None:
    form = ("ogg", codec, 48_000, "mono") if codec == "libopus" else ("ogg", codec, 44_100, "stereo")
    parts = []
    for seed in (1, 2):
        encode(part := io.BytesIO(), form, melody(5.0, seed=seed))
        parts.append(part.getvalue())
    (tmp_path / "chained.ogg").write_bytes(b"".join(parts))
    found = load_audio(tmp_path / "chained.ogg")
    assert abs(len(found) - 10 * RATE) < 0.3 * RATE
    assert alike(found[5 * RATE :], melody(5.0, seed=2)) > 0.9
    np.testing.assert_array_equal(load_span(tmp_path / "chained.ogg", 7.0, 8.0), found[7 * RATE : 8 * RATE])


def test_joined_mp3s_of_different_rates_are_read_to_the_end(tmp_path: Path) -> None:
    parts = []
    for rate, layout in ((44_100, "stereo"), (22_050, "mono")):
        encode(part := io.BytesIO(), ("mp3", "libmp3lame", rate, layout), melody(4.0, seed=rate))
        parts.append(part.getvalue())
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    found = load_audio(tmp_path / "joined.mp3")
    assert abs(len(found) - 8 * RATE) < 0.4 * RATE
    assert alike(found[4 * RATE :], melody(4.0, seed=22_050), reach=0.4) > 0.8


@pytest.mark.parametrize("stated", [0, 0xFFFFFFFF])
def test_a_wav_whose_header_was_never_finished_is_read_to_its_end(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "crashed.wav"
    soundfile.write(path, melody(3.0), RATE, subtype="PCM_16")
    expected = load_audio(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, stated)
    path.write_bytes(content)
    np.testing.assert_array_equal(load_audio(path), expected)
    assert audio_seconds(path) == 3.0
    np.testing.assert_array_equal(load_span(path, 1.0, 2.0), expected[RATE : 2 * RATE])


def test_the_length_of_a_streamed_flac_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "streamed.flac"
    soundfile.write(path, melody(3.0), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits after the marker and the sizes
    content[22:26] = b"\0\0\0\0"
    path.write_bytes(content)
    assert audio_seconds(path) == pytest.approx(3.0, abs=0.01)
    assert len(decode_bytes(bytes(content))) == 3 * RATE


def test_one_of_several_audio_streams_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.mka"
    with av.open(str(path), "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        for seed, stream in enumerate(streams):
            samples = (melody(2.0, seed=seed) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    for seed in range(2):
        assert alike(load_audio(path, audio_stream=seed), melody(2.0, seed=seed)) > 0.99
    with pytest.raises(UserError, match="expected 3 audio streams, found 2"):
        load_audio(path, audio_stream=2)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8"])
def test_integers_of_any_width_fill_the_same_range(dtype: str) -> None:
    limits = np.iinfo(dtype)
    middle = (limits.max + limits.min + 1) // 2
    values = np.array([limits.min, middle, limits.max], dtype)
    np.testing.assert_allclose(resample(values, RATE), [-1, 0, 1], atol=0.01)
