"""Parts of recordings, and recordings that lie in memory, as 16 kHz mono float32.

Axes: S samples at 16 kHz.
"""

import functools
import io
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchaudio

import soundfile

from audio.audio_io import is_plain_wav, load_audio, load_crop, stream_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.packed_files import is_packed

BLOCK_SECONDS, HELD_SECONDS = 5.0, 60.0
FINEST_SPEED = 100  # a factor is taken as a fraction with no larger denominator
_open = threading.local()  # .reader: the recording that this thread is reading, and how far it is


class Reader(NamedTuple):
    """A recording that is being decoded: ``position`` samples are decoded, ``held`` are the last of them."""

    key: tuple[str, int, int]
    blocks: Iterator[np.ndarray]
    position: int
    held: np.ndarray


def load_span(path: Path, start: float, end: float) -> np.ndarray:
    """(S,) float32 of ``path`` from ``start`` to ``end`` seconds (inf: to its end): those samples of ``load_audio``.

    Time is counted in decoded samples, since containers state wrong places and FFmpeg believes them. What lies before
    must be decoded for that; the next span of the same recording goes on from there, so read them in order of time.
    """
    if start == 0 and end == float("inf"):
        return load_audio(path)
    first = round(start * SAMPLE_RATE)
    if is_packed(path):
        return load_audio(path)[first : None if end == float("inf") else round(end * SAMPLE_RATE)]
    if is_plain_wav(path):
        last = soundfile.info(str(path)).frames if end == float("inf") else round(end * SAMPLE_RATE)
        return load_crop(path, first, max(min(last, soundfile.info(str(path)).frames) - first, 0))
    return _read_on(path, first, None if end == float("inf") else round(end * SAMPLE_RATE))


def _read_on(path: Path, first: int, last: int | None) -> np.ndarray:
    status = os.stat(path)
    key = (str(path), status.st_size, status.st_mtime_ns)
    reader = getattr(_open, "reader", None)
    if reader is None or reader.key != key or first < reader.position - len(reader.held):
        reader = Reader(key, stream_audio(path, block_seconds=BLOCK_SECONDS), 0, np.zeros(0, np.float32))
    _open.reader = None  # until it is whole again: an error ends it
    blocks, position, held = reader.blocks, reader.position, reader.held
    kept, begin = [held], position - len(held)
    while last is None or position < last:
        block = next(blocks, None)
        if block is None:
            break
        position += len(block)
        kept.append(block)
        while kept and begin + len(kept[0]) <= first:  # what lies before the span is not held
            begin += len(kept.pop(0))
    samples = np.concatenate(kept) if kept else np.zeros(0, np.float32)
    span = samples[max(first - begin, 0) : None if last is None else max(last - begin, 0)].copy()
    # Enough stays for the next span to begin a little before this one's end.
    held = samples[-round(HELD_SECONDS * SAMPLE_RATE) :].copy()
    _open.reader = Reader(key, blocks, position, held)
    return span


def audio_seconds(source: Path | bytes) -> float:
    """The length of an audio file, or of one's content, in decoded samples; UserError where there is no audio.

    Headers are believed of plain WAVs only: those of streamed FLAC, crashed recorders and old MP3s state anything.
    """
    if isinstance(source, bytes):
        return len(decode_bytes(source)) / SAMPLE_RATE
    if is_packed(source):
        return len(load_audio(source)) / SAMPLE_RATE
    if not Path(source).is_file():
        raise UserError(f"{source}: expected an audio file, found none")
    if is_plain_wav(source):
        return float(soundfile.info(str(source)).duration)
    status = os.stat(source)
    return _count_samples(str(source), status.st_size, status.st_mtime_ns) / SAMPLE_RATE


@functools.lru_cache(maxsize=4096)
def _count_samples(path: str, size: int, changed: int) -> int:
    return sum(map(len, stream_audio(Path(path))))


def decode_bytes(content: bytes) -> np.ndarray:
    """(S,) float32 of an audio file's content: a plain WAV as it is, anything else decoded and resampled."""
    try:
        return load_audio(io.BytesIO(content))
    except UserError as error:
        reason = str(error).partition("found")[2]
        raise UserError(f"audio in the data set: expected decodable audio, found{reason}") from error


def resample(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """(S,) or (channels, S) or (S, channels) samples, at any rate -> (S',) float32 mono at 16 kHz.

    Integers of any width count from their full scale; those of 64 bits, as lists of numbers become, from that of 16
    bits or, where they do not fit, of 32.
    """
    values = np.asarray(samples)
    if values.dtype in (np.int64, np.uint64):
        values = _narrow(values)
    scale = 1 / -float(np.iinfo(values.dtype).min) if np.issubdtype(values.dtype, np.signedinteger) else 1.0
    if np.issubdtype(values.dtype, np.unsignedinteger):  # the middle of the range is silence
        scale = 2 / (float(np.iinfo(values.dtype).max) + 1)
        values = values.astype(np.float64) - 1 / scale
    values = np.squeeze(values)
    if values.ndim == 2:
        values = values.mean(axis=int(values.shape[0] > values.shape[1]))
    wave = torch.from_numpy(np.ascontiguousarray(values, np.float32) * np.float32(scale))
    return torchaudio.functional.resample(wave, sample_rate, SAMPLE_RATE).numpy()


def _narrow(values: np.ndarray) -> np.ndarray:
    """Integers of 64 bits in the 16 or 32 that they were recorded in; as they are where they do not fit."""
    lowest, highest = values.min(initial=0), values.max(initial=0)
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return values.astype(kind)
    return values


def change_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """(S,) float32 played ``speed`` times as fast: (about S / speed,), pitch and all (Ko et al., Interspeech 2015)."""
    if speed == 1:
        return waveform
    factor = Fraction(speed).limit_denominator(FINEST_SPEED)
    wave = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
    return torchaudio.functional.resample(wave, factor.numerator, factor.denominator).numpy()
