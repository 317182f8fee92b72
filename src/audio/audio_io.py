"""Audio in and out, and the project's only log-mel.

Axes: B batch, S samples at 16 kHz, F frames of 320 samples, M mel bands.
"""

import functools
import io
import os
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torchaudio

import av
import soundfile

from audio.full_scale import full_scale_gain, require_finite
from core.errors import UserError
from core.files import write_atomically
from core.frames import HOP_SAMPLES, N_MELS, SAMPLE_RATE, samples_to_frames
from core.packed_files import is_packed, open_packed, read_packed

MAX_DAMAGED_PACKETS, MAX_DAMAGED_SHARE = 2, 0.02  # of a file's packets; more is an error
PCM_BLOCK = 1 << 20  # samples: an hour must not become float64 at once
PCM_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4}  # of a sample
LEAST_RATE, MOST_RATE = 1_000, 1_000_000  # Hz: beyond these a header lies, and resampling would take minutes
LONGEST_WAV_HEADER = 1 << 20  # bytes beside the samples: comments and marks, seldom pictures
LOG_FLOOR = 1e-5  # amplitude: log-mel never falls below log(1e-5)


def stream_audio(
    path: Path | BinaryIO,
    *,
    block_seconds: float = 30.0,
    audio_stream: int = 0,
    watch: Callable[[av.AudioFrame], object] | None = None,
) -> Iterator[np.ndarray]:
    """Decode any audio or video file, or an open one, as 16 kHz mono float32 blocks in [-1, 1], in bounded memory.

    ``audio_stream`` counts the audio streams of a video from 0. ``watch`` is shown each frame as the decoder gives it,
    before it is resampled. A few damaged packets (old MP3s end in tags that are no
    audio) are passed over; a file whose format changes on the way is read to its end. Raises UserError for a file
    without such a stream, without channels, with samples that are no numbers, or that cannot be decoded.
    """
    block, held, n_held = int(block_seconds * SAMPLE_RATE), [], 0
    for piece in _decode(path, audio_stream, watch):
        held.append(piece)
        n_held += len(piece)
        if n_held >= block:
            whole = np.concatenate(held)
            require_finite(path, whole)
            yield whole[:block]
            held, n_held = [whole[block:]], len(whole) - block
    if n_held:
        whole = np.concatenate(held)
        require_finite(path, whole)
        yield whole


def probe_audio(path: Path) -> bool | None:
    """Whether a file holds sound: True where some can be decoded, False for media without, None for anything else."""
    try:
        with av.open(str(path)) as found:
            if not any(stream.codec_context is not None for stream in found.streams.audio):
                return False if found.streams.video else None
            return any(True for _ in found.decode(audio=0)) or None
    except (av.FFmpegError, UnicodeEncodeError, OSError, ValueError):
        return None


def _decode(
    path: Path | BinaryIO, audio_stream: int = 0, watch: Callable[[av.AudioFrame], object] | None = None
) -> Iterator[np.ndarray]:
    try:
        with av.open(path if hasattr(path, "read") else str(path)) as found:
            streams = [stream for stream in found.streams.audio if stream.codec_context is not None]
            if len(streams) <= audio_stream:
                wanted = f"{audio_stream + 1} audio streams" if audio_stream else "an audio stream"
                raise UserError(
                    f"{path}: expected {wanted}, found {len(streams) or 'none'}; remove the file or convert it again"
                )
            if not streams[audio_stream].codec_context.channels:
                raise UserError(f"{path}: expected at least one channel, found 0; convert the file again")
            rate = streams[audio_stream].codec_context.sample_rate
            if rate and not LEAST_RATE <= rate <= MOST_RATE:
                raise UserError(
                    f"{path}: expected {LEAST_RATE} to {MOST_RATE} samples a second, found {rate}: the header is "
                    "damaged; remove the file or convert it again"
                )
            gain = full_scale_gain(path, streams[audio_stream].codec_context.name, audio_stream)
            frames = _decode_packets(found, streams[audio_stream])
            for samples in _resample_frames(_shown(frames, watch) if watch else frames):
                yield samples if gain == 1 else samples * np.float32(gain)
    except (av.FFmpegError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path}: expected decodable audio, found: {reason}; remove the file or convert it again"
        ) from error


def _shown(frames: Iterable[av.AudioFrame], watch: Callable[[av.AudioFrame], object]) -> Iterator[av.AudioFrame]:
    for frame in frames:
        watch(frame)
        yield frame


def _resample_frames(frames: Iterable[av.AudioFrame]) -> Iterator[np.ndarray]:
    """(S,) float32 mono at 16 kHz. Joined files change their rate or channels half-way: each part has a resampler."""
    resampler, form = None, None
    for frame in frames:
        if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
            yield from _resampled(resampler, None)
            # FFmpeg's own mix of stereo adds 3 dB to what both channels share, which would leave [-1, 1].
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        yield from _resampled(resampler, frame)
    yield from _resampled(resampler, None)


def _resampled(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> list[np.ndarray]:
    return [_mix(part.to_ndarray()) for part in resampler.resample(frame)] if resampler else []


def _mix(samples: np.ndarray) -> np.ndarray:
    """(C, S) -> (S,)."""
    return samples[0] if len(samples) == 1 else samples.mean(axis=0)


def _decode_packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    n_good, damaged = 0, []
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
            n_good += 1
        except av.InvalidDataError as error:
            damaged.append(error)
    # The empty packet that flushes the decoder always counts as good.
    if damaged and (n_good < 2 or len(damaged) > max(MAX_DAMAGED_PACKETS, MAX_DAMAGED_SHARE * n_good)):
        raise damaged[0]


def is_plain_wav(path: Path | BinaryIO) -> bool:
    """Whether samples can be read from a file as they lie: PCM WAV at 16 kHz mono whose header tells the truth.

    A recorder that crashed leaves a header of length 0, one that streams a length of 4 GB: FFmpeg reads what is there.
    """
    try:
        if not _starts_as_wav(path):
            return False
        with soundfile.SoundFile(path) as wav:
            if (wav.format, wav.samplerate, wav.channels) != ("WAV", SAMPLE_RATE, 1) or wav.subtype not in PCM_BYTES:
                return False
            n_bytes = wav.frames * PCM_BYTES[wav.subtype]
            size = path.seek(0, os.SEEK_END) if hasattr(path, "seek") else os.path.getsize(path)
            return 0 < n_bytes < size <= n_bytes + LONGEST_WAV_HEADER
    except (soundfile.LibsndfileError, OSError):
        return False
    finally:
        if hasattr(path, "seek"):
            path.seek(0)


def _starts_as_wav(path: Path | BinaryIO) -> bool:
    """Whether libsndfile need look at it at all: its MP3 decoder writes notes to the screen."""
    if hasattr(path, "seek"):
        path.seek(0)
        start = path.read(4)
        path.seek(0)
        return start == b"RIFF"
    with open(path, "rb") as file:
        return file.read(4) == b"RIFF"


def load_audio(path: Path | BinaryIO, *, audio_stream: int = 0) -> np.ndarray:
    """A whole file as (S,) float32 mono at 16 kHz in [-1, 1]; a plain WAV directly, anything else decoded."""
    if not hasattr(path, "read") and is_packed(path):
        return _load_packed(path, audio_stream)
    if not hasattr(path, "read") and not Path(path).is_file():
        raise UserError(f"{path}: expected an audio file, found none")
    if not hasattr(path, "read") and not os.path.getsize(path):
        raise UserError(f"{path}: expected audio, found an empty file (0 bytes); copy it again")
    if is_plain_wav(path):
        return soundfile.read(path, dtype="float32")[0]
    blocks = list(stream_audio(path, audio_stream=audio_stream))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _load_packed(path: Path, audio_stream: int) -> np.ndarray:
    content = io.BytesIO(read_packed(path))
    try:
        return load_audio(content, audio_stream=audio_stream)
    except UserError as error:
        raise UserError(str(error).replace(str(content), str(path))) from error


def load_crop(path: Path, start_sample: int, n_samples: int) -> np.ndarray:
    """(n_samples,) float32 of a 16 kHz mono WAV, in a tar or by itself, from ``start_sample``; zeros past its end."""
    try:
        wav = soundfile.SoundFile(open_packed(path) if is_packed(path) else path)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: expected a WAV file, found: {error.error_string}; run scripts/segment_audio.py"
        ) from error
    with wav:
        if wav.samplerate != SAMPLE_RATE or wav.channels != 1:
            raise UserError(
                f"{path}: expected {SAMPLE_RATE} Hz mono, found {wav.samplerate} Hz with {wav.channels} channels; "
                "run scripts/segment_audio.py"
            )
        wav.seek(min(start_sample, wav.frames))
        return wav.read(n_samples, dtype="float32", fill_value=0.0)


def save_audio(path: Path, waveform: np.ndarray) -> None:
    """Write (S,) float in [-1, 1] as 16 kHz mono PCM16 WAV, atomically; louder samples are clipped.

    What ``load_audio`` read from such a file is written back sample for sample.
    """
    blocks = np.array_split(np.asarray(waveform), 1 + len(waveform) // PCM_BLOCK)

    def write(temporary: Path) -> None:
        # libsndfile says nothing of a disk that is full, and gives its files rights of its own.
        with open(temporary, "wb") as file, wave.open(file, "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE, len(waveform), "NONE", ""))
            for block in blocks:
                wav.writeframesraw(_as_pcm(block).astype("<i2").tobytes())

    write_atomically(path, write)


def save_audio_pieces(path: Path, pieces: Iterable[np.ndarray]) -> int:
    """Write (S,) float pieces as ``save_audio`` writes their whole, each as it comes; returns the samples written.

    ``<path>.part`` is a complete WAV after every piece, so that it can be listened to as it grows; it takes its final
    name at the end, and is left as it is where the pieces end in an error.
    """
    path, n_samples = Path(path), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(path.name + ".part")
    # Each piece is followed by a new header, and that by a flush: they are on disk together.
    with open(growing, "wb") as file, wave.open(file, "wb") as wav:
        wav.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for piece in pieces:
            wav.writeframes(_as_pcm(piece).astype("<i2").tobytes())
            file.flush()
            n_samples += len(piece)
    os.replace(growing, path)
    return n_samples


def _as_pcm(waveform: np.ndarray) -> np.ndarray:
    return np.clip(np.round(np.asarray(waveform, np.float64) * 32768), -32768, 32767).astype(np.int16)


@functools.lru_cache(maxsize=32)
def mel_filterbank(n_fft: int, n_mels: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(n_fft // 2 + 1, n_mels) slaney-normalised triangular filters from 0 to 8000 Hz."""
    # Kept for later callers, who may train: a tensor made in inference mode could not take part in a gradient.
    with torch.inference_mode(False):
        filters = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, 0.0, SAMPLE_RATE / 2, n_mels, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        return filters.to(dtype=dtype, device=device)


def compute_mel_spectrogram(
    waveform: torch.Tensor, *, n_fft: int = 1024, hop: int = HOP_SAMPLES, n_mels: int = N_MELS
) -> torch.Tensor:
    """Natural log of the mel *amplitude* spectrogram, floored at 1e-5.

    waveform: (B, S) float. A Hann window of ``n_fft`` samples is centred on the middle of each frame, so S samples give
    S // hop frames. Returns (B, M, frames). Used for features, loss and scores alike.
    """
    padded = torch.nn.functional.pad(waveform, (n_fft // 2 - hop // 2, n_fft // 2))
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(padded, n_fft, hop, n_fft, window, center=False, return_complex=True)
    # The epsilon keeps the gradient of the absolute value finite at silence.
    amplitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-12)
    mel = amplitude.transpose(1, 2) @ mel_filterbank(n_fft, n_mels, waveform.dtype, waveform.device)
    n_frames = waveform.shape[-1] // hop
    return torch.log(mel.clamp_min(LOG_FLOOR)).transpose(1, 2)[..., :n_frames]


def read_waveform(path: Path) -> tuple[np.ndarray | None, str]:
    """((S,) float32, "") or (None, reason) for audio that cannot serve: unreadable, not finite, under one frame."""
    try:
        waveform = load_audio(path)
    except (UserError, OSError, soundfile.SoundFileError) as error:
        return None, str(error)
    if not np.isfinite(waveform).all():
        return None, f"{path}: expected finite samples, found NaN or Inf"
    if samples_to_frames(len(waveform)) == 0:
        return None, f"{path}: expected at least {HOP_SAMPLES} samples, found {len(waveform)}"
    return waveform, ""
