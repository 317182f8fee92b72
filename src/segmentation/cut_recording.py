"""One recording → its segments as files and a result beside them, safe to kill at any moment.

The result is written last; what it depends on stands in it.
"""

import contextlib
import errno
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from annotations.read_annotations import read_annotations
from annotations.spans import choose_text_tiers, tier_names, written_spans
from audio.audio_io import save_audio, stream_audio
from audio.full_scale import full_scale_gain
from audio.native_sound import describe_container, is_opposed
from audio.stated_length import stated_seconds
from core.errors import UserError
from core.files import read_json, write_json
from core.frames import SAMPLE_RATE
from core.records import CutSegment
from segmentation.annotated_pieces import AnnotatedPlan, lanes, plan_annotated
from segmentation.levelling import amplify, level_gain_db
from segmentation.pauses import (
    MAX_SEGMENT_DURATION,
    MIN_ACTIVE_STEPS,
    MIN_SEGMENT_DURATION,
    STEP_SAMPLES,
    STEPS_PER_SECOND,
    FoundSegments,
    cut_blocks,
    find_active,
    find_segments,
    find_threshold,
    is_silent,
    measure_levels,
    measure_piece,
)
from segmentation.voice_activity import (
    MOST_FALSE_SOUND,
    Windows,
    false_sound,
    false_sound_in,
    find_speech,
    hear,
    keep_windows,
    speech_probabilities,
)

RESULT_VERSION = 2  # raise it where the same flags cut elsewhere
LEVELLING_VERSION = 1  # raise it where the same recording is raised by another gain
VAD_VERSION = 2  # likewise, where the network is asked
WAV_HEADER_BYTES = 44
ROUNDED_BYTES = 4  # two samples: times have four decimals, and 16,000 samples a second need more
CHANGED = "changed while it was read; run again when it is complete"
HELD_SAMPLES = 10 * 60 * SAMPLE_RATE  # 38 MiB: a recording up to this long is decoded once
MISSING_SHARE, MISSING_SECONDS = 0.02, 1.0  # what decoding may lack of the stated duration


ENERGY, SILERO, AUTO = DETECTORS = ("energy", "silero", "auto")


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
    has_one_text: bool = False  # that holds for the whole recording
    annotations: Path | None = None  # a file of ELAN, Praat, …: cut at its annotations instead of at pauses
    text_tiers: tuple[str, ...] = ()  # tiers that hold what is said; () chooses by their names
    vad: str = ENERGY
    keep_level: bool = False  # else speech far from the usual level is brought there


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
        **({"keep_level": True} if job.keep_level else {"levelled": LEVELLING_VERSION}),
        **({"has_one_text": True} if job.has_one_text else {}),
        **({"vad": job.vad, "vad_version": VAD_VERSION} if job.vad != ENERGY else {}),
        **(describe_annotations(job) if job.annotations else {}),
    }


def describe_annotations(job: CutJob) -> dict[str, object]:
    status = os.stat(job.annotations)
    described = [str(job.annotations), status.st_size, status.st_mtime_ns, list(job.text_tiers)]
    return {"annotations": described}


def flags_of_results(results: Path) -> dict[str, object]:
    """The cutting flags of a finished result in this folder; empty where there is none."""
    for file in sorted(results.glob("*.json")):
        with contextlib.suppress(UserError, KeyError, TypeError):  # a result that is torn is made again
            depends_on = read_json(file)["depends_on"]
            kept = {"keep_truncated": depends_on["keep_truncated"], "keep_level": depends_on.get("keep_level", False)}
            return {**depends_on["flags"], **kept}
    return {}


def is_current(job: CutJob) -> bool:
    """Whether the job's result was made from this very recording with these flags, and all its files are there."""
    try:
        result = read_json(result_file(job))
        if result.get("depends_on") != dependencies(job):
            return False
    except (OSError, UserError):
        return False
    for number, segment in enumerate(result["segments"]):
        n_samples = round((segment["end"] - segment["start"]) * SAMPLE_RATE)
        file = segment_file(job.segments, job.stem, number)
        if not file.exists() or abs(file.stat().st_size - WAV_HEADER_BYTES - 2 * n_samples) > ROUNDED_BYTES:
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
    result_file(job).unlink(missing_ok=True)
    try:
        depends_on = dependencies(job)
        result = find_and_write_segments(job)
        if dependencies(job) != depends_on:
            raise UserError(CHANGED)
    except UserError as error:
        reason = str(error).removeprefix(f"{job.path}: ")
    except OSError as error:
        if is_own_fault(error, job):
            raise
        reason = f"cannot be read ({error.strerror})"
    else:
        write_json(result_file(job), {"depends_on": depends_on, **result})
        return None
    delete_segments(job.segments, job.stem)
    return reason


def is_own_fault(error: OSError, job: CutJob) -> bool:
    """Whether writing went wrong, not reading: then no other recording would do better."""
    ours = str(error.filename or "").startswith((str(job.segments), str(job.results)))
    return ours or error.errno in (errno.ENOSPC, errno.EDQUOT)


def find_and_write_segments(job: CutJob) -> dict[str, object]:
    """Decode, find the segments, write them; returns the result but for what it depends on."""
    if os.path.getsize(job.path) == 0:
        raise UserError("is empty (0 bytes)")
    tracks = describe_tracks(job.path)
    held: list[np.ndarray] = []
    windows: Windows = []
    heard: list[np.ndarray] = []
    blocks = hold_short(stream_audio(job.path), held)
    blocks = keep_windows(blocks, windows) if job.vad == AUTO else blocks
    blocks = hear(blocks, heard) if job.vad == SILERO and not job.annotations else blocks
    levels, flatness, n_samples = measure_levels(blocks)
    check_length(job.path, n_samples, keep_truncated=job.keep_truncated)
    annotated = read_pieces(job, n_samples / SAMPLE_RATE) if job.annotations else None
    if annotated is not None and annotated.pieces:
        active = find_active(levels, find_threshold(levels, job.flags.threshold_db))
        gain = choose_gain(job, levels, active)
        write_segments(job, annotated_bounds(annotated, n_samples), held, gain)
        return describe_annotated(job, annotated, levels, flatness, n_samples=n_samples) | note_gain(gain) | tracks
    refuse_foreign(job, annotated)
    active, measured = hear_speech(job, levels, windows=windows, heard=heard, held=held)
    found = choose_segments(job, levels, n_samples / SAMPLE_RATE, active, n_tracks=tracks.get("n_tracks", 1))
    bounds = piece_bounds(found, n_samples)
    heard_active = find_active(levels, found.threshold) if active is None else active
    gain = choose_gain(job, levels, heard_active)
    write_segments(job, bounds, held, gain)
    segments = [describe_segment(*bound, levels, flatness) for bound in bounds]
    return {
        "n_samples": n_samples,
        **found._asdict(),
        "threshold": found.threshold._asdict(),
        "segments": segments,
        **({"detector": ENERGY if active is None else SILERO} if job.vad != ENERGY else {}),
        **({} if measured is None else {"loud_without_speech": round(measured, 4)}),
        **note_gain(gain),
        **tracks,
    }


def choose_gain(job: CutJob, levels: np.ndarray, active: np.ndarray) -> float:
    """By how much the recording is raised, dB."""
    return 0.0 if job.keep_level else level_gain_db(levels, active)


def note_gain(gain_db: float) -> dict[str, float]:
    return {"levelled_db": gain_db} if gain_db else {}


def refuse_foreign(job: CutJob, annotated: AnnotatedPlan | None) -> None:
    """UserError for annotations of which none lies in the recording: cutting at pauses would hide that."""
    if annotated is not None and annotated.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in annotated.left_out.items())
        raise UserError(
            f"{job.annotations.name}: none of its texts lies in the recording ({reasons}); is it of another one? "
            "--annotations none cuts at pauses"
        )


def describe_tracks(path: Path) -> dict[str, float]:
    """What a user should know of the sound in a file: several tracks, or samples over full scale; mostly nothing."""
    container = describe_container(path)
    gain = full_scale_gain(path, container.codec)
    lowered = {"lowered_db": round(-20 * math.log10(gain), 1)} if gain < 1 else {}
    return lowered | ({"n_tracks": container.n_audio_streams} if container.n_audio_streams > 1 else {})


def describe_segment(start: int, end: int, levels: np.ndarray, flatness: np.ndarray) -> CutSegment:
    """The row of the samples from ``start`` to ``end``."""
    steps = slice(start // STEP_SAMPLES, -(-end // STEP_SAMPLES))
    times = {"start": round(start / SAMPLE_RATE, 4), "end": round(end / SAMPLE_RATE, 4)}
    return {**times, **measure_piece(levels[steps], flatness[steps])._asdict()}


def hold_short(blocks: Iterable[np.ndarray], held: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Hand on blocks (S,); ``held`` has them all afterwards if they are no more than ten minutes, else none.

    So most recordings are decoded once. A longer one is decoded again where it is needed, and memory stays bounded.
    """
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if n_samples <= HELD_SAMPLES:
            held.append(block)
        else:
            held.clear()
        yield block


def hear_speech(
    job: CutJob, levels: np.ndarray, *, windows: Windows, heard: list[np.ndarray], held: list[np.ndarray]
) -> tuple[np.ndarray | None, float | None]:
    """(T,) bool: where a network hears speech; None where loudness serves, as ``job.vad`` says or measures.

    Also what ``auto`` measured: the share of loud steps in which the network hears no speech, in all of a short
    recording and in ``windows`` of a long one.
    heard: probabilities, where the network has heard all. held: the samples, if they are few.
    """
    if job.vad == ENERGY:
        return None, None
    share, spoken = None, None
    if held or heard:
        probabilities = np.concatenate(heard) if heard else speech_probabilities(held)
        spoken = find_speech(probabilities, len(levels))
    if job.vad == AUTO:
        active = find_active(levels, find_threshold(levels, job.flags.threshold_db))
        share = false_sound_in(windows, active) if spoken is None else false_sound(active, spoken)
        if share <= MOST_FALSE_SOUND:
            return None, share
    if spoken is None:
        spoken = find_speech(speech_probabilities(stream_audio(job.path)), len(levels))
    return spoken, share


def read_pieces(job: CutJob, seconds: float) -> AnnotatedPlan:
    """What the job's annotation file says: the pieces to cut, and the texts that have no place, by reason."""
    spans = read_annotations(job.annotations)
    tiers = choose_text_tiers(spans, job.text_tiers)
    if spans and not tiers:
        found = ", ".join(tier_names(spans))
        wanted = f"the tier {' or '.join(job.text_tiers)}" if job.text_tiers else "a tier of texts"
        raise UserError(f"{job.annotations}: expected {wanted}, found {found}; name one with --text_tier")
    spoken = written_spans(spans, job.text_tiers)
    _, _, _, min_duration, max_duration = job.flags
    return plan_annotated(spoken, n_seconds=seconds, min_duration=min_duration, max_duration=max_duration)


def annotated_bounds(annotated: AnnotatedPlan, n_samples: int) -> list[tuple[int, int]]:
    """(start, end) of every annotated piece, in samples."""
    return [
        (round(piece.start * SAMPLE_RATE), min(round(piece.end * SAMPLE_RATE), n_samples)) for piece in annotated.pieces
    ]


def describe_annotated(
    job: CutJob, annotated: AnnotatedPlan, levels: np.ndarray, flatness: np.ndarray, *, n_samples: int
) -> dict[str, object]:
    """The result of a recording that was cut at annotations, but for what it depends on."""
    bounds = annotated_bounds(annotated, n_samples)
    segments = [
        {
            **describe_segment(*bound, levels, flatness),
            "speaker": piece.speaker,
            "text": piece.text,
            "is_overlapped": piece.is_overlapped,
        }
        for bound, piece in zip(bounds, annotated.pieces)
    ]
    covered = np.zeros(len(levels), bool)
    for start, end in bounds:
        covered[start // STEP_SAMPLES : -(-end // STEP_SAMPLES)] = True
    return {
        "n_samples": n_samples,
        "pieces": [(start // STEP_SAMPLES, -(-end // STEP_SAMPLES)) for start, end in bounds],
        "threshold": find_threshold(levels, job.flags.threshold_db)._asdict(),
        "dropped": {"not_annotated": int((~covered).sum()) / STEPS_PER_SECOND},
        "segments": segments,
        "texts_lost": annotated.left_out,
    }


def choose_segments(
    job: CutJob, levels: np.ndarray, seconds: float, active: np.ndarray | None = None, *, n_tracks: int = 1
) -> FoundSegments:
    """Where a recording of levels (T,) is cut. A short one is kept as it is; one with a text of its own is not cut.

    active: (T,) bool, where somebody speaks, if that was heard by other means than loudness.

    Raises UserError for a recording that gives nothing.
    """
    found = find_segments(levels, active=active, **job.flags._asdict())
    if is_silent(found.threshold):
        other = f"; the first of {n_tracks} sound tracks was taken: export the other alone" if n_tracks > 1 else ""
        other = other or ("; its two channels cancel each other: export one of them" if is_opposed(job.path) else "")
        raise UserError(f"is silent (its loudest parts lie at {found.threshold.loud_db:.0f} dB of full scale){other}")
    if len(levels) < MIN_ACTIVE_STEPS:
        raise UserError(f"is too short ({seconds:.3f} s)")
    if seconds < job.flags.min_duration:
        return keep_whole(found, [(0, len(levels))], len(levels))
    if job.has_one_text and seconds <= job.flags.max_duration and len(found.pieces) != 1:
        all_kept = found.pieces and not found.dropped["too_short"]
        piece = (found.pieces[0][0], found.pieces[-1][1]) if all_kept else (0, len(levels))
        return keep_whole(found, [piece], len(levels))
    if not found.pieces:
        parts = ", ".join(f"{value:.1f} s {name.replace('_', ' ')}" for name, value in found.dropped.items() if value)
        raise UserError(f"gives no segment ({parts}); listen to it, or give a lower --threshold_db or --min_duration")
    return found


def keep_whole(found: FoundSegments, pieces: list[tuple[int, int]], n_steps: int) -> FoundSegments:
    silence = n_steps - sum(end - start for start, end in pieces)
    return found._replace(pieces=pieces, dropped={"silence": silence / STEPS_PER_SECOND, "clicks": 0, "too_short": 0})


def piece_bounds(found: FoundSegments, n_samples: int) -> list[tuple[int, int]]:
    """(start, end) of every piece, in samples; the last step may reach past the recording."""
    return [(start * STEP_SAMPLES, min(end * STEP_SAMPLES, n_samples)) for start, end in found.pieces]


def write_segments(
    job: CutJob, bounds: list[tuple[int, int]], held: Sequence[np.ndarray] = (), gain_db: float = 0.0
) -> None:
    """Write the samples of each (start, end), decoded again if not ``held``; what an earlier cut left over goes.

    Where annotations overlap, the recording is read once for each lane of bounds that do not.
    """
    n_written = 0
    for lane in lanes(bounds):
        for number, waveform in zip(
            lane, cut_blocks(held or stream_audio(job.path), [bounds[number] for number in lane])
        ):
            save_audio(segment_file(job.segments, job.stem, number), amplify(waveform, gain_db))
            n_written += 1
    if n_written != len(bounds):
        raise UserError(CHANGED)
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
