"""One recording → its segments as files and a result beside them, safe to kill at any moment.

A *job* is a dict: ``source`` (relative name), ``path``, ``stem`` (of the segments' ids), ``flags`` (of find_segments),
``keep_truncated``, ``segments`` and ``results`` (folders). Its result is written last; what it depends on stands in it.
"""

import functools
import json
import os
import struct
from pathlib import Path

import av

from audio.audio_io import save_audio, stream_audio
from core.errors import UserError
from core.files import write_json
from core.frames import SAMPLE_RATE
from segmentation.pauses import STEP_SAMPLES, cut_blocks, find_segments, is_silent, measure_levels, measure_piece

RESULT_VERSION = 1  # raise it where the same flags cut elsewhere
WAV_HEADER_BYTES = 44
UNKNOWN_WAV_SIZE = 0x7FFFF000  # recorders that stream, or pass 2 GB, write this or more
MISSING_SHARE, MISSING_SECONDS = 0.02, 1.0  # what decoding may lack of the stated duration


def result_file(job: dict) -> Path:
    return Path(job["results"]) / f"{job['stem']}.json"


def dependencies(job: dict) -> dict:
    """What a result depends on: the recording's name, size and time, the flags, and this code's version."""
    status = os.stat(job["path"])
    return {
        "source": job["source"],
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "flags": job["flags"],
        "keep_truncated": job["keep_truncated"],
        "version": RESULT_VERSION,
    }


def is_current(job: dict) -> bool:
    """Whether the job's result was made from this very recording with these flags, and all its files are there."""
    try:
        result = json.loads(result_file(job).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    if result["depends_on"] != dependencies(job):
        return False
    for number, segment in enumerate(result["segments"]):
        n_samples = round((segment["end"] - segment["start"]) * SAMPLE_RATE)
        file = segment_file(job["segments"], job["stem"], number)
        if not file.exists() or file.stat().st_size != WAV_HEADER_BYTES + 2 * n_samples:
            return False
    return True


def segment_file(folder: Path | str, stem: str, number: int) -> Path:
    return Path(folder) / f"{stem}_{number:04d}.wav"


def delete_segments(folder: Path | str, stem: str, first: int = 0) -> None:
    """Delete the segments of ``stem`` from number ``first`` on, the last first, so that a kill leaves no gap."""
    number = first
    while segment_file(folder, stem, number).exists():
        number += 1
    while number > first:
        number -= 1
        segment_file(folder, stem, number).unlink(missing_ok=True)


def cut_recording(job: dict) -> str | None:
    """Cut one recording and write its segments, then its result. Returns why it failed, None when it did not."""
    depends_on = dependencies(job)
    result_file(job).unlink(missing_ok=True)
    try:
        if depends_on["size"] == 0:
            raise UserError("is empty (0 bytes)")
        levels, flatness, n_samples = measure_levels(stream_audio(Path(job["path"])))
        check_length(job, n_samples)
        found = find_segments(levels, **job["flags"])
        if is_silent(found["threshold"]):
            raise UserError(
                f"is silent (its loudest parts lie at {found['threshold']['loud_db']:.0f} dB of full scale)"
            )
    except UserError as error:
        delete_segments(job["segments"], job["stem"])
        return str(error).removeprefix(f"{job['path']}: ")
    bounds = [(start * STEP_SAMPLES, min(end * STEP_SAMPLES, n_samples)) for start, end in found["pieces"]]
    write_segments(job, bounds)
    segments = [
        {
            "start": round(start / SAMPLE_RATE, 4),
            "end": round(end / SAMPLE_RATE, 4),
            **measure_piece(levels[slice(*piece)], flatness[slice(*piece)]),
        }
        for (start, end), piece in zip(bounds, found["pieces"])
    ]
    write_json(result_file(job), {"depends_on": depends_on, "n_samples": n_samples, **found, "segments": segments})
    return None


def write_segments(job: dict, bounds: list[tuple[int, int]]) -> None:
    """Decode again and write the samples of each (start, end); what an earlier cut left over goes."""
    waveforms = cut_blocks(stream_audio(Path(job["path"])), bounds)
    n_written = 0
    for waveform in waveforms:
        save_audio(segment_file(job["segments"], job["stem"], n_written), waveform)
        n_written += 1
    assert n_written == len(bounds), f"{job['path']}: decoded differently the second time"
    delete_segments(job["segments"], job["stem"], n_written)


def check_length(job: dict, n_samples: int) -> None:
    """Refuse a recording without samples, and one that is clearly shorter than its container states."""
    if n_samples == 0:
        raise UserError("holds no audio")
    stated, found = stated_seconds(Path(job["path"])), n_samples / SAMPLE_RATE
    if stated and stated - found > max(MISSING_SECONDS, MISSING_SHARE * stated) and not job["keep_truncated"]:
        raise UserError(
            f"is truncated: {stated:.1f} s stated, {found:.1f} s there; copy it anew, or --keep_truncated uses the rest"
        )


def stated_seconds(path: Path) -> float | None:
    """The duration that the container states; None where it states none (OGG, an MP3 without a Xing or VBRI header)."""
    if path.suffix.lower() == ".wav":
        return _stated_wav_seconds(path)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        if container.format.name == "mp3":
            return _stated_mp3_seconds(path, stream.rate)
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else None


def _stated_wav_seconds(path: Path) -> float | None:
    """What a RIFF header says; FFmpeg and libsndfile report what is there instead. None for other or streamed files."""
    bytes_a_second = None
    with open(path, "rb") as wav:
        if wav.read(4) != b"RIFF":
            return None
        wav.seek(12)
        while len(header := wav.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                known = bytes_a_second and 0 < size < UNKNOWN_WAV_SIZE
                return size / bytes_a_second if known else None
            chunk = wav.read(16) if name == b"fmt " else b""
            if len(chunk) == 16:
                bytes_a_second = struct.unpack("<HHIIHH", chunk)[3]
            wav.seek(size + size % 2 - len(chunk), os.SEEK_CUR)
    return None


def _stated_mp3_seconds(path: Path, rate: int) -> float | None:
    """What the first frame's Xing or VBRI header says; without one FFmpeg guesses a duration from the size."""
    with open(path, "rb") as mp3:
        start = mp3.read(10)
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, start[6:10], 0)
        mp3.seek(10 + size if start[:3] == b"ID3" else 0)
        head = mp3.read(4096)
    n_frames = None
    for tag, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = head.find(tag)
        # Bit 0 of a Xing header's flags says that the number of frames follows.
        if 0 <= place <= len(head) - 18 and (tag == b"VBRI" or head[place + 7] & 1):
            n_frames = struct.unpack_from(">I", head, place + offset)[0]
    return n_frames * (1152 if rate >= 32000 else 576) / rate if n_frames else None
