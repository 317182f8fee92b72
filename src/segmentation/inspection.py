"""A first look at one recording: decoded once, measured on the way, nothing written.

Axes: S samples at 16 kHz, T steps of 10 ms.
"""

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import av

from audio.audio_io import stream_audio
from audio.full_scale import full_scale_gain
from audio.mp3 import encode_mp3
from audio.native_sound import BlockSound, describe_container, is_lossless, measure_frames, sum_up
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.records import InspectedRecording
from segmentation.cut_recording import check_length
from segmentation.levelling import THRESHOLD_DB, speech_power
from segmentation.pauses import (
    INAUDIBLE_DB,
    MIN_SEGMENT_DURATION,
    SILENT_DB,
    STEP_SAMPLES,
    STEPS_PER_SECOND,
    Threshold,
    find_active,
    find_pieces,
    find_segments,
    find_threshold,
    is_noise_or_music,
    measure_levels,
    measure_piece,
    to_decibels,
)

BLOCK_SECONDS = 10.0
LISTEN_SECONDS = 5.0
CURVE_POINTS = 240
MIN_PAUSE_STEPS = 40
FEWEST_NOISE_STEPS = 20
WINDOW = 1024  # samples of a spectrum; one of eight windows is looked at
BASS_HZ, TREBLE_HZ = (300, 3400), (4500, 7500)
LOWEST = 1e-7  # amplitude: -140 dB
# What makes a recording worth a remark.
CLIPPED_SHARE = 1e-4
QUIET_DBFS = -40.0
NOISY_SNR_DB = 15.0
DULL_DB = -50.0  # a telephone leaves nothing above 4 kHz, however high the rate of the file is
OFFSET = 0.02
LEAST_OFFSET = 0.001  # -60 dB
LITTLE_SPEECH = 0.1


class InspectionJob(NamedTuple):
    """A recording to look at; ``listen``: whether some seconds of a flagged one are wanted as MP3."""

    source: str
    path: Path
    listen: bool = False


class Inspection(NamedTuple):
    """The row of a recording, and the few seconds that show its fault."""

    row: InspectedRecording
    sample: bytes | None  # MP3


class _Gathered(NamedTuple):
    """What is kept of a recording while it streams by."""

    blocks: list[BlockSound]
    spectra: list[np.ndarray]  # (513,) power, summed over the windows of a block
    excerpts: dict[str, tuple[float, np.ndarray]]  # kind -> (how much of it, samples)


class Levels(NamedTuple):
    """How loud speech and noise are, dB of full scale; None where the pauses are digital silence."""

    speech_db: float
    noise_db: float | None
    snr_db: float | None


def inspect_recording(job: InspectionJob) -> Inspection | str:
    """Decode once and measure; the reason where that fails."""
    try:
        if os.path.getsize(job.path) == 0:
            return f"{job.path}: is empty (0 bytes); copy it again"
        container = describe_container(job.path)
        gathered = _Gathered([], [], {})
        gain = full_scale_gain(job.path, container.codec)
        blocks = _watched_blocks(job, gathered, lossless=is_lossless(container.codec), gain=gain)
        levels, flatness, n_samples = measure_levels(blocks)
        if not n_samples:
            return f"{job.path}: holds no audio; copy it again"
        row = _describe(job, n_samples, levels, flatness, gathered)
    except (UserError, OSError) as error:
        return str(error)
    row |= {
        "source": job.source,
        "container": container.container,
        "codec": container.codec,
        "audio_streams": container.n_audio_streams,
        "lowered_db": _decibels(1 / gain),
        "video": container.has_video,
    }
    row["flags"] = find_flags(row)
    return Inspection(row, _excerpt(row, gathered) if job.listen and row["flags"] else None)


def _watched_blocks(job: InspectionJob, gathered: _Gathered, **how: bool | float) -> Iterator[np.ndarray]:
    """The blocks (S,) of a recording, measured as they pass; ``how``: of ``measure_frames``."""
    held: list[av.AudioFrame] = []
    for block in stream_audio(job.path, block_seconds=BLOCK_SECONDS, watch=held.append):
        measured = measure_frames(held, **how)
        held.clear()
        gathered.blocks.extend(measured)
        gathered.spectra.append(power_spectrum(block))
        if job.listen:
            _keep_excerpts(block, measured, gathered.excerpts)
        yield without_offset(block)
    gathered.blocks.extend(measure_frames(held, **how))


def without_offset(block: np.ndarray) -> np.ndarray:
    """A steady offset is no sound: the middle of the steps' means goes, where it could be heard as one."""
    steps = block[: len(block) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    offset = np.median(steps.mean(axis=1)) if len(steps) else np.float32(0)
    return block - offset if abs(offset) > LEAST_OFFSET else block


def _keep_excerpts(
    block: np.ndarray, measured: Iterable[BlockSound], excerpts: dict[str, tuple[float, np.ndarray]]
) -> None:
    n_clipped = sum(found.n_full + found.n_flat for found in measured)
    amounts = {"clipped": float(n_clipped), "loudest": float(np.mean(np.square(block)))}
    for kind, amount in amounts.items():
        if amount > excerpts.get(kind, (-1.0, block))[0]:
            excerpts[kind] = (amount, block[: round(LISTEN_SECONDS * SAMPLE_RATE)].copy())


def _excerpt(row: InspectedRecording, gathered: _Gathered) -> bytes:
    kind = "clipped" if "clipped" in row["flags"] else "loudest"
    return encode_mp3(gathered.excerpts[kind][1])


def _describe(
    job: InspectionJob, n_samples: int, levels: np.ndarray, flatness: np.ndarray, gathered: _Gathered
) -> InspectedRecording:
    sound = sum_up(gathered.blocks)
    threshold = find_threshold(levels, THRESHOLD_DB)
    active = find_active(levels, threshold)
    loudness = measure_loudness(levels, active, threshold)
    silent = threshold.loud_db < SILENT_DB
    return {
        "seconds": round(n_samples / SAMPLE_RATE, 3),
        "rate_hz": sound.rate_hz,
        "channels": sound.channels,
        "changes": sound.changes,
        "peak_dbfs": _decibels(sound.peak),
        "clipped_share": round(sound.clipped_share, 7),
        "offset": round(sound.offset, 5),
        "dead_channels": sound.dead_channels,
        "opposed_channels": sound.opposed,
        "level_dbfs": round(loudness.speech_db, 1),
        "noise_dbfs": None if loudness.noise_db is None else round(loudness.noise_db, 1),
        "snr_db": None if loudness.snr_db is None else round(loudness.snr_db, 1),
        "speech_seconds": 0.0 if silent else round(measure_speech(active), 2),
        "noise_seconds": 0.0 if silent else round(measure_noise(levels, flatness), 2),
        "treble_db": treble(gathered.spectra),
        "curve_dbfs": thin_levels(levels),
        "fingerprint": f"{zlib.crc32(levels.tobytes()):08x}-{n_samples}",
        "note": _length_note(job.path, n_samples),
    }


def _decibels(amplitude: float) -> float:
    return round(20 * float(np.log10(max(amplitude, LOWEST))), 1)


def _length_note(path: Path, n_samples: int) -> str:
    try:
        check_length(path, n_samples)
    except UserError as error:
        return str(error).removeprefix(f"{path}: ").partition(";")[0]
    return ""


def measure_loudness(levels: np.ndarray, active: np.ndarray, threshold: Threshold) -> Levels:
    """Level of speech, noise floor and SNR of (T,) levels, of which (T,) ``active`` are speech.

    Speech: mean power of the active steps (``speech_power``). Noise: median level of the others. SNR: the ratio of the
    two powers, the noise taken off the speech. Digital silence in over half of the pauses hides the noise: then both
    are None.
    """
    decibels = to_decibels(levels.astype(np.float64))
    audible = decibels > INAUDIBLE_DB
    if not audible.any():
        return Levels(float(decibels.mean()) if len(levels) else INAUDIBLE_DB, None, None)
    power = speech_power(10 ** (decibels[active if active.any() else audible] / 10))
    speech_db = 10 * float(np.log10(power))
    pauses = ~active
    if pauses.sum() >= FEWEST_NOISE_STEPS and audible[pauses].mean() < 0.5:
        return Levels(speech_db, None, None)
    noise = decibels[pauses & audible]
    noise_db = float(np.median(noise)) if len(noise) >= FEWEST_NOISE_STEPS else threshold.floor_db
    noise_power = 10 ** (noise_db / 10)
    snr_db = 10 * float(np.log10(max(power - noise_power, 0.01 * noise_power) / noise_power))
    return Levels(speech_db, noise_db, snr_db)


def measure_speech(active: np.ndarray) -> float:
    """Seconds between the pauses of at least 0.4 s; clicks left out."""
    pieces, _ = find_pieces(active, MIN_PAUSE_STEPS)
    return sum(end - start for start, end in pieces) / STEPS_PER_SECOND


def measure_noise(levels: np.ndarray, flatness: np.ndarray) -> float:
    """Seconds of the segments, as they would be cut, that are noise or music rather than speech."""
    pieces = find_segments(levels).pieces
    flagged = [
        (start, end)
        for start, end in pieces
        if is_noise_or_music(*measure_piece(levels[start:end], flatness[start:end]))
    ]
    return sum(end - start for start, end in flagged) / STEPS_PER_SECOND


def power_spectrum(block: np.ndarray) -> np.ndarray:
    """(S,) -> (513,) power, summed over every eighth window of 64 ms."""
    windows = block[: len(block) // WINDOW * WINDOW].reshape(-1, WINDOW)[::8]
    return np.sum(np.abs(np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32), axis=1)) ** 2, axis=0)


def treble(spectra: list[np.ndarray]) -> float | None:
    """dB of the power density at 4.5 to 7.5 kHz over that at 0.3 to 3.4 kHz; None without sound."""
    whole, hertz = np.sum(spectra, axis=0), np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    low, high = (float(np.mean(whole[(hertz >= start) & (hertz <= end)])) for start, end in (BASS_HZ, TREBLE_HZ))
    return round(10 * float(np.log10(max(high, 1e-12) / low)), 1) if low > 1e-6 else None


def thin_levels(levels: np.ndarray) -> list[float]:
    """At most 240 points, each the loudest of its stretch, dB of full scale."""
    parts = np.array_split(levels, min(CURVE_POINTS, len(levels)))
    return [float(to_decibels(int(part.max()))) for part in parts]


def find_flags(row: InspectedRecording) -> list[str]:
    """What is wrong with a recording, the gravest first."""
    if row["level_dbfs"] < SILENT_DB:
        several = ["several_tracks"] if row["audio_streams"] > 1 else []
        return ["opposed_channels"] if row["opposed_channels"] else ["silent", *several]
    snr_db, treble_db = row["snr_db"], row["treble_db"]
    checks = {
        "cut_short": bool(row["note"]),
        "clipped": row["clipped_share"] >= CLIPPED_SHARE,
        "opposed_channels": row["opposed_channels"],
        "noisy": snr_db is not None and snr_db < NOISY_SNR_DB,
        "little_speech": row["speech_seconds"] < LITTLE_SPEECH * row["seconds"],
        "noise_or_music": row["noise_seconds"] > 0.5 * max(row["speech_seconds"], 1.0),
        "quiet": row["level_dbfs"] < QUIET_DBFS,
        "dead_channel": bool(row["dead_channels"]),
        "low_rate": row["rate_hz"] < SAMPLE_RATE,
        "dull": row["rate_hz"] >= SAMPLE_RATE and treble_db is not None and treble_db < DULL_DB,
        "offset": abs(row["offset"]) > OFFSET,
        "changes": row["changes"],
        "over_full_scale": row["lowered_db"] > 0,
        "several_tracks": row["audio_streams"] > 1,
        "short": row["seconds"] < MIN_SEGMENT_DURATION,
    }
    return [name for name, found in checks.items() if found]
