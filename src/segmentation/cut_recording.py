"""One recording → its segments as files and a result beside them, safe to kill at any moment.

The result is written last; what it depends on stands in it.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from audio.audio_io import save_audio, stream_audio
from audio.stated_length import stated_seconds
from core.errors import UserError
from core.files import write_json
from core.frames import SAMPLE_RATE
from core.records import CutSegment
from segmentation.pauses import (
    MAX_SEGMENT_DURATION,
    MIN_SEGMENT_DURATION,
    STEP_SAMPLES,
    FoundSegments,
    cut_blocks,
    find_segments,
    is_silent,
    measure_levels,
    measure_piece,
)

RESULT_VERSION = 1  # raise it where the same flags cut elsewhere
WAV_HEADER_BYTES = 44
MISSING_SHARE, MISSING_SECONDS = 0.02, 1.0  # what decoding may lack of the stated duration


class CutFlags(NamedTuple):
    """Arguments of ``find_segments``: seconds, and dB above the noise floor."""

    threshold_db: float = 10.0
    min_pause: float = 0.4
    margin: float = 0.2
    min_duration: float = MIN_SEGMENT_DURATION
    max_duration: float = MAX_SEGMENT_DURATION


class CutJob(NamedTuple):
    """Everything that a process needs to cut one recording."""

    source: str  # relative name
    path: Path
    stem: str  # of the segments' ids
    flags: CutFlags
    keep_truncated: bool
    segments: Path  # folder of the segments
    results: Path  # folder of the results


def result_file(job: CutJob) -> Path:
    return job.results / f"{job.stem}.json"


def dependencies(job: CutJob) -> dict[str, object]:
    """What a result depends on: the recording's name, size and time, the flags, and this code's version."""
    status = os.stat(job.path)
    return {
        "source": job.source,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "flags": job.flags._asdict(),
        "keep_truncated": job.keep_truncated,
        "version": RESULT_VERSION,
    }


def is_current(job: CutJob) -> bool:
    """Whether the job's result was made from this very recording with these flags, and all its files are there."""
    try:
        result = json.loads(result_file(job).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    if result["depends_on"] != dependencies(job):
        return False
    for number, segment in enumerate(result["segments"]):
        n_samples = round((segment["end"] - segment["start"]) * SAMPLE_RATE)
        file = segment_file(job.segments, job.stem, number)
        if not file.exists() or file.stat().st_size != WAV_HEADER_BYTES + 2 * n_samples:
            return False
    return True


def segment_file(folder: Path, stem: str, number: int) -> Path:
    return folder / f"{stem}_{number:04d}.wav"


def delete_segments(folder: Path, stem: str, first: int = 0) -> None:
    """Delete the segments of ``stem`` from number ``first`` on, the last first, so that a kill leaves no gap."""
    number = first
    while segment_file(folder, stem, number).exists():
        number += 1
    while number > first:
        number -= 1
        segment_file(folder, stem, number).unlink(missing_ok=True)


def cut_recording(job: CutJob) -> str | None:
    """Cut one recording and write its segments, then its result. Returns why it failed, None when it did not."""
    depends_on = dependencies(job)
    result_file(job).unlink(missing_ok=True)
    try:
        if os.path.getsize(job.path) == 0:
            raise UserError("is empty (0 bytes)")
        levels, flatness, n_samples = measure_levels(stream_audio(job.path))
        check_length(job.path, n_samples, keep_truncated=job.keep_truncated)
        found = find_segments(levels, **job.flags._asdict())
        if is_silent(found.threshold):
            raise UserError(f"is silent (its loudest parts lie at {found.threshold.loud_db:.0f} dB of full scale)")
    except UserError as error:
        delete_segments(job.segments, job.stem)
        return str(error).removeprefix(f"{job.path}: ")
    bounds = piece_bounds(found, n_samples)
    write_segments(job, bounds)
    segments: list[CutSegment] = [
        {
            "start": round(start / SAMPLE_RATE, 4),
            "end": round(end / SAMPLE_RATE, 4),
            **measure_piece(levels[slice(*piece)], flatness[slice(*piece)])._asdict(),
        }
        for (start, end), piece in zip(bounds, found.pieces)
    ]
    parts = {**found._asdict(), "threshold": found.threshold._asdict()}
    write_json(result_file(job), {"depends_on": depends_on, "n_samples": n_samples, **parts, "segments": segments})
    return None


def piece_bounds(found: FoundSegments, n_samples: int) -> list[tuple[int, int]]:
    """(start, end) of every piece, in samples; the last step may reach past the recording."""
    return [(start * STEP_SAMPLES, min(end * STEP_SAMPLES, n_samples)) for start, end in found.pieces]


def write_segments(job: CutJob, bounds: list[tuple[int, int]]) -> None:
    """Decode again and write the samples of each (start, end); what an earlier cut left over goes."""
    n_written = 0
    for waveform in cut_blocks(stream_audio(job.path), bounds):
        save_audio(segment_file(job.segments, job.stem, n_written), waveform)
        n_written += 1
    assert n_written == len(bounds), f"{job.path}: decoded differently the second time"
    delete_segments(job.segments, job.stem, n_written)


def check_length(path: Path, n_samples: int, *, keep_truncated: bool = False) -> None:
    """Refuse a recording without samples, and one that is clearly shorter than its container states."""
    if n_samples == 0:
        raise UserError("holds no audio")
    stated, found = stated_seconds(path), n_samples / SAMPLE_RATE
    if stated and stated - found > max(MISSING_SECONDS, MISSING_SHARE * stated) and not keep_truncated:
        raise UserError(
            f"is truncated: {stated:.1f} s stated, {found:.1f} s found; copy it again, or give --keep_truncated"
        )
