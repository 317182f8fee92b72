"""Units from elsewhere as phase 1 of this project: completed by segments.jsonl, on whole frames of their audio."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.stated_length import stated_seconds
from core.errors import UserError
from core.frames import SAMPLE_RATE, UNIT_RATE, frames_to_seconds, samples_to_frames
from core.records import Segment, Utterance
from languages import resolve_in
from segmentation.manifest import read_manifest
from units.exchange_reading import ForeignUtterance
from units.shards import describe_utterance

MAX_MISSING_FRAMES = 2  # a convolutional encoder leaves out one at the end, sometimes two
NAMED = 5


class Segments(NamedTuple):
    """The manifest of the language, as far as there is one."""

    by_id: dict[str, Segment]
    by_audio: dict[str, Segment]


class ImportCounts(NamedTuple):
    """What had to be done to foreign utterances; each a list of ids."""

    all: list[str]
    unknown: list[str]  # to segments.jsonl
    without_audio: list[str]
    fitted: list[str]  # frames at the end repeated or cut


def new_counts() -> ImportCounts:
    return ImportCounts([], [], [], [])


def read_segments(manifest: Path) -> Segments:
    """The manifest's rows by id and by audio; empty where there is no manifest."""
    rows = list(read_manifest(manifest)) if manifest.is_file() else []
    return Segments({row["id"]: row for row in rows}, {row["audio"]: row for row in rows})


def survey_units(found: Iterable[ForeignUtterance], path: Path) -> tuple[int, int]:
    """(largest unit + 1, streams) over all utterances; refuses repeated ids and streams that differ."""
    seen, n_units, n_streams = set(), 0, set()
    for utterance in found:
        if utterance.id in seen:
            raise UserError(f"{path}: expected each id once, found {utterance.id} again; give one file, or rename")
        seen.add(utterance.id)
        n_units = max(n_units, int(utterance.frame_units.max(initial=-1)) + 1)
        n_streams.add(utterance.frame_units.shape[1])
    if not n_units or len(n_streams) != 1:
        raise UserError(f"{path}: expected units, in each utterance as many streams, found {sorted(n_streams)}")
    return n_units, n_streams.pop()


def complete_utterances(
    found: Iterable[ForeignUtterance], segments: Segments, root: Path, split: str | None, counts: ImportCounts
) -> Iterator[Utterance]:
    """Each utterance as a line of the corpus.

    segments.jsonl has the last word on audio, split, speaker and text; ``split`` is for those that no file names.
    """
    for foreign in found:
        relative = _inside(root, foreign.audio)
        segment = segments.by_audio.get(relative or "") or segments.by_id.get(foreign.id)
        row = _describe(foreign, segment, relative, split)
        audio_path = resolve_in(root, row["audio"]) if row["audio"] else None
        n_samples = _count_samples(foreign, segment, audio_path)
        frame_units = fit_frames(foreign, samples_to_frames(n_samples))
        is_fitted = len(frame_units) != len(foreign.frame_units)
        _count(counts, foreign, row, is_known=segment is not None, is_fitted=is_fitted)
        yield describe_utterance(row, n_samples, frame_units)


def _describe(foreign: ForeignUtterance, segment: Segment | None, relative: str | None, split: str | None) -> Segment:
    own = {"id": foreign.id, "audio": relative or "", "split": foreign.split or split}
    own |= {"speaker": foreign.speaker, "text": foreign.text, **foreign.origin}
    row = own | {key: value for key, value in (segment or {}).items() if value is not None}
    if row["split"] is None:
        raise UserError(f"{foreign.id}: neither segments.jsonl nor the file names its split; give --split train")
    return row


def _inside(root: Path, audio: str | None) -> str | None:
    """The path relative to the data root, with slashes; None where it lies elsewhere or is none."""
    if not audio:
        return None
    path = (root / audio).resolve()
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else None


def _count_samples(foreign: ForeignUtterance, segment: Segment | None, audio_path: Path | None) -> int:
    """Samples at 16 kHz: of the audio where it is at hand, else as it is said, else as many as the units stand for."""
    seconds = stated_seconds(audio_path) if audio_path and audio_path.is_file() else None
    if seconds is None:
        seconds = segment["duration"] if segment else foreign.seconds
    return round((frames_to_seconds(len(foreign.frame_units)) if seconds is None else seconds) * SAMPLE_RATE)


def fit_frames(foreign: ForeignUtterance, n_frames: int) -> np.ndarray:
    """(F, N) -> (``n_frames``, N): up to two frames at the end are cut, or the last one repeated. Refuses more."""
    frames, missing = foreign.frame_units, n_frames - len(foreign.frame_units)
    if abs(missing) > MAX_MISSING_FRAMES or (missing > 0 and not len(frames)):
        seconds = frames_to_seconds(n_frames)
        raise UserError(
            f"{foreign.id}: expected {n_frames} units for {seconds:g} s ({UNIT_RATE} a second), found {len(frames)}; "
            "give --input_rate where they have another rate; units without durations have no timing"
        )
    return np.concatenate([frames[:n_frames], np.repeat(frames[-1:], max(missing, 0), axis=0)])


def _count(counts: ImportCounts, foreign: ForeignUtterance, row: Segment, *, is_known: bool, is_fitted: bool) -> None:
    counts.all.append(foreign.id)
    for names, concerned in (
        (counts.unknown, not is_known),
        (counts.without_audio, not row["audio"]),
        (counts.fitted, is_fitted),
    ):
        if concerned:
            names.append(foreign.id)


def describe_counts(counts: ImportCounts, has_manifest: bool) -> list[str]:
    """A line for each thing that the user should know."""
    said = {
        "are not in segments.jsonl: kept as their file describes them": counts.unknown if has_manifest else [],
        "have no audio under DATA_ROOT: motifs and scores work, a voice needs the audio": counts.without_audio,
        "were up to two frames longer or shorter than their audio: the end was cut, or its last unit repeated": (
            counts.fitted
        ),
    }
    return [
        f"{len(names)} of {len(counts.all)} utterances {what} ({', '.join(names[:NAMED])}"
        f"{', …' if len(names) > NAMED else ''})"
        for what, names in said.items()
        if names
    ]
