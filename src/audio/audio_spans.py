"""Parts of recordings, and recordings that lie in memory, as 16 kHz mono float32.

Axes: S samples at 16 kHz.
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torchaudio

import av
import soundfile

from audio.audio_io import load_audio, load_crop, stream_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE

# Decoded and dropped before a span: MP3's bit reservoir, AAC's overlap and the resampler reach back less than this.
LEAD_SECONDS = 1.0
FINEST_SPEED = 100  # a factor is taken as a fraction with no larger denominator


def load_span(path: Path, start: float, end: float) -> np.ndarray:
    """(S,) float32 of ``path`` from ``start`` to ``end`` seconds (inf: to its end), without decoding what lies before.

    Where the sound is at another rate than 16 kHz, samples may lie up to half of one beside those of ``load_audio``.
    """
    if start == 0 and end == float("inf"):
        return load_audio(path)
    first = round(start * SAMPLE_RATE)
    if _is_plain_wav(path):
        return load_crop(path, first, max(round(min(end, audio_seconds(path)) * SAMPLE_RATE) - first, 0))
    last = round(end * SAMPLE_RATE) if end < float("inf") else None
    pieces, begin, reached = [], None, 0
    for position, piece in _decode_from(path, max(start - LEAD_SECONDS, 0.0)):
        begin = position if begin is None else begin
        pieces.append(piece)
        reached = position + len(piece)
        if last is not None and reached >= last:
            break
    if begin is None:
        return np.zeros(0, np.float32)
    return np.concatenate(pieces)[max(first - begin, 0) : max((last or reached) - begin, 0)]


def _is_plain_wav(path: Path) -> bool:
    if Path(path).suffix.lower() != ".wav":
        return False
    try:
        found = soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return False
    return found.samplerate == SAMPLE_RATE and found.channels == 1


def _decode_from(path: Path, start: float) -> Iterator[tuple[int, np.ndarray]]:
    """(its first sample, (S,) float32) of the pieces from a place at or before ``start`` seconds on."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        begin = (stream.start_time or 0) * stream.time_base
        if start > 0:  # a seek to the very beginning would pass over MP3's first, delayed packet
            container.seek(int((Fraction(start) + begin) / stream.time_base), stream=stream, backward=True)
        resampler, position = av.AudioResampler(format="fltp", rate=SAMPLE_RATE), None
        for frame in _good_frames(container, stream):
            if frame.pts is None:  # a bare stream without times: nothing says where the seek ended
                yield 0, load_audio(path)
                return
            if position is None:
                position = round((frame.pts * frame.time_base - begin) * SAMPLE_RATE)
            for resampled in resampler.resample(frame):
                piece = resampled.to_ndarray().mean(axis=0)
                yield position, piece
                position += len(piece)
        for resampled in resampler.resample(None) if position is not None else ():
            yield position, resampled.to_ndarray().mean(axis=0)


def _good_frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:  # the first packets after a seek may refer to what was skipped
            continue


def audio_seconds(source: Path | bytes) -> float:
    """The length of an audio file, or of one's content, by its header; UserError where there is no audio."""
    name = "audio in the data set" if isinstance(source, bytes) else str(source)
    try:
        return float(soundfile.info(_as_stream(source)).duration)
    except soundfile.LibsndfileError:
        pass  # FFmpeg knows more formats
    try:
        with av.open(_as_stream(source)) as container:
            stream = container.streams.audio[0]
            if stream.duration is not None:
                return float(stream.duration * stream.time_base)
            return float(container.duration / av.time_base) if container.duration else 0.0
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f"{name}: expected decodable audio, found: {error}; convert it anew or leave it out") from error


def _as_stream(source: Path | bytes) -> str | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def decode_bytes(content: bytes) -> np.ndarray:
    """(S,) float32 of an audio file's content: PCM at 16 kHz as it is, anything else decoded and resampled."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            if sound.samplerate == SAMPLE_RATE and sound.channels == 1 and sound.format in ("WAV", "FLAC"):
                return sound.read(dtype="float32")
    except soundfile.LibsndfileError:
        pass
    blocks = list(stream_audio(io.BytesIO(content)))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def resample(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """(S,) or (channels, S) or (S, channels) samples, float or int16, at any rate -> (S',) float32 mono at 16 kHz."""
    values = np.asarray(samples)
    scale = 1 / 32768 if np.issubdtype(values.dtype, np.integer) else 1.0
    values = np.squeeze(values)
    if values.ndim == 2:
        values = values.mean(axis=int(values.shape[0] > values.shape[1]))
    wave = torch.from_numpy(np.ascontiguousarray(values, np.float32) * np.float32(scale))
    return torchaudio.functional.resample(wave, sample_rate, SAMPLE_RATE).numpy()


def change_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """(S,) float32 played ``speed`` times as fast: (about S / speed,), pitch and all (Ko et al., Interspeech 2015)."""
    if speed == 1:
        return waveform
    factor = Fraction(speed).limit_denominator(FINEST_SPEED)
    wave = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
    return torchaudio.functional.resample(wave, factor.numerator, factor.denominator).numpy()
