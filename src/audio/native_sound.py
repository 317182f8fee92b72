"""What a recording is before it becomes 16 kHz mono: its container, its channels, its peaks and its clipping.

Axes: C channels, S samples at the recording's own rate. Full scale is 1.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import av

from core.errors import UserError

FULL_SCALE = 0.99  # a sample from here on is at the limit of the recorder
SHORTEST_RUN = 3  # samples in a row at the limit: fewer are a peak
FLATTEST_PEAK = 0.1  # quieter equal samples are silence, not a flattened peak
SAME_PEAK = 0.98  # of the recording's peak: such a block was flattened at the same level
DEAD_CHANNEL_DB = 30.0  # below the loudest channel
OPPOSED = -0.7  # correlation of two channels that cancel each other in a mix
OPPOSED_FRAMES = 1000  # of the decoder, 20 s or so, are enough to tell
# Peaks are flat to the last bit only where no codec has changed them.
LOSSLESS = ("pcm_s16", "pcm_s24", "pcm_s32", "flac", "alac", "wavpack", "tta", "ape")
FULL_SCALES = {"u8": 128.0, "s16": 32768.0, "s32": 2.0**31, "s64": 2.0**63}


class Container(NamedTuple):
    """What the first bytes of a file say, whatever its name is."""

    container: str
    codec: str
    n_audio_streams: int
    has_video: bool


class BlockSound(NamedTuple):
    """Some seconds of a recording; ``peak`` is over all channels."""

    rate_hz: int
    n_samples: int  # of each channel
    mean: np.ndarray  # (C,)
    power: np.ndarray  # (C,) mean square
    product: float  # mean of left times right; 0 unless there are two channels
    peak: float
    n_full: int  # samples at full scale in runs, all channels
    n_flat: int  # samples in runs equal to the block's peak, all channels


class NativeSound(NamedTuple):
    """A whole recording at its own rate. Channels count from 1."""

    rate_hz: int  # of most of it
    channels: int
    changes: bool  # of rate or channels on the way
    peak: float
    clipped_share: float
    offset: float  # the largest mean of a channel
    dead_channels: list[int]
    opposed: bool  # two channels cancel each other


def describe_container(path: Path, audio_stream: int = 0) -> Container:
    """The container and the codec by content; UserError where FFmpeg knows no audio in it."""
    try:
        with av.open(str(path)) as found:
            names = [stream.codec_context.name for stream in found.streams.audio if stream.codec_context is not None]
            # A picture of the cover is a stream of one frame, not a film.
            films = [
                stream for stream in found.streams.video if not stream.disposition & stream.disposition.attached_pic
            ]
            container = found.format.name.partition(",")[0]
    except (av.FFmpegError, UnicodeEncodeError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: expected audio, found: {reason}; remove the file or convert it again") from error
    if len(names) <= audio_stream:
        raise UserError(f"{path}: expected an audio stream, found none; remove the file or convert it again")
    return Container(container, names[audio_stream].removesuffix("float"), len(names), bool(films))


def is_lossless(codec: str) -> bool:
    return codec.startswith(LOSSLESS)


def frame_samples(frame: av.AudioFrame) -> np.ndarray:
    """(C, S) float32 of a decoded frame, full scale 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    name = frame.format.name.removesuffix("p")
    if name not in FULL_SCALES:
        return samples.astype(np.float32, copy=False)
    whole = samples.astype(np.float32) - (128 if name == "u8" else 0)
    return whole / np.float32(FULL_SCALES[name])


def measure_frames(frames: Sequence[av.AudioFrame], *, lossless: bool, gain: float = 1.0) -> list[BlockSound]:
    """One block for each run of ``frames`` of the same form; ``gain``: of ``full_scale_gain``."""
    runs = itertools.groupby(frames, key=lambda frame: (frame.sample_rate, frame.layout.name, frame.format.name))
    blocks = [(form[0], np.concatenate([frame_samples(frame) for frame in run], axis=1)) for form, run in runs]
    return [
        measure_block(samples if gain == 1 else samples * np.float32(gain), rate_hz, lossless=lossless)
        for rate_hz, samples in blocks
    ]


def measure_block(samples: np.ndarray, rate_hz: int, *, lossless: bool) -> BlockSound:
    """samples: (C, S) float32; ``lossless``: whether peaks that are equal to the bit mean something."""
    loudness = np.abs(samples)
    peak = float(loudness.max(initial=0.0))
    # A lossy codec ripples what was flat: part of it comes out above full scale, which no recorder can write.
    n_full = _count_in_runs(loudness >= FULL_SCALE) if peak >= FULL_SCALE else 0
    if not lossless and peak >= 1.0:
        n_full = max(n_full, int((loudness >= 1.0).sum()))
    flat = lossless and FLATTEST_PEAK < peak < FULL_SCALE
    product = float(np.vdot(samples[0], samples[1])) / max(1, samples.shape[1]) if len(samples) == 2 else 0.0
    return BlockSound(
        rate_hz=rate_hz,
        n_samples=samples.shape[1],
        mean=samples.mean(axis=1, dtype=np.float64),
        power=np.einsum("cs,cs->c", samples, samples).astype(np.float64) / max(1, samples.shape[1]),
        product=product,
        peak=peak,
        n_full=n_full,
        n_flat=_count_in_runs(loudness > peak - 2 / 32768) if flat else 0,
    )


def _count_in_runs(mask: np.ndarray) -> int:
    """How many of (C, S) bool lie in runs of at least three."""
    core = mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2]
    if not core.any():
        return 0
    inside = np.zeros_like(mask)
    for shift in range(SHORTEST_RUN):
        inside[:, shift : shift + core.shape[1]] |= core
    return int(inside.sum())


def sum_up(blocks: Sequence[BlockSound]) -> NativeSound:
    """A whole recording from its blocks (at least one). Channels are compared in the form that most of it has."""
    seconds: dict[tuple[int, int], float] = {}
    for block in blocks:
        form = (block.rate_hz, len(block.mean))
        seconds[form] = seconds.get(form, 0.0) + block.n_samples / block.rate_hz
    rate_hz, channels = max(seconds, key=seconds.get)
    main = [block for block in blocks if (block.rate_hz, len(block.mean)) == (rate_hz, channels)]
    weights = np.array([block.n_samples for block in main], np.float64)
    weights /= max(weights.sum(), 1.0)
    mean, power = (weights @ np.stack([getattr(block, name) for block in main]) for name in ("mean", "power"))
    variance = np.maximum(power - mean**2, 0.0)
    return NativeSound(
        rate_hz=rate_hz,
        channels=channels,
        changes=len(seconds) > 1,
        peak=max(block.peak for block in blocks),
        clipped_share=clipped_share(blocks),
        offset=float(mean[np.argmax(np.abs(mean))]),
        dead_channels=find_dead_channels(variance),
        opposed=channels == 2 and _correlation(main, weights, mean, variance) < OPPOSED,
    )


def clipped_share(blocks: Sequence[BlockSound]) -> float:
    """The share of samples that lie in flattened peaks, at full scale or all at one lower level."""
    n_samples = sum(block.n_samples * len(block.mean) for block in blocks)
    peak = max(block.peak for block in blocks)
    n_flat = sum(block.n_flat for block in blocks if block.peak >= SAME_PEAK * peak)
    return max(sum(block.n_full for block in blocks), n_flat) / max(1, n_samples)


def find_dead_channels(variance: np.ndarray) -> list[int]:
    """(C,) variances -> the channels, from 1, that hold almost nothing while another holds sound."""
    if len(variance) < 2 or variance.max() < 1e-8:
        return []
    quiet = variance < variance.max() * 10 ** (-DEAD_CHANNEL_DB / 10)
    return [int(number) + 1 for number in np.flatnonzero(quiet)]


def _correlation(blocks: Sequence[BlockSound], weights: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    product = float(weights @ np.array([block.product for block in blocks])) - mean[0] * mean[1]
    return product / np.sqrt(variance[0] * variance[1]) if variance.min() > 1e-10 else 0.0


def is_opposed(path: Path) -> bool:
    """Whether a recording has two channels that cancel each other in a mix, by its first seconds."""
    with av.open(str(path)) as found:
        frames = list(itertools.islice(found.decode(audio=0), OPPOSED_FRAMES))
    blocks = measure_frames(frames, lossless=False) if frames else []
    return bool(blocks) and sum_up(blocks).opposed
