"""The results of all recordings → ``segments.jsonl`` and ``splits.json``."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.files import read_json, write_atomically, write_json
from core.frames import SAMPLE_RATE
from core.records import CutResult, CutSegment, Segment
from languages import data_root
from segmentation.cut_recording import CutJob, result_file
from segmentation.pauses import is_noise_or_music
from segmentation.splits import Split, assign_splits, split_at
from segmentation.tables import find_table, read_speakers, read_transcripts, texts_of_segments

NOISE_OR_MUSIC = "noise_or_music"


class ManifestTally(NamedTuple):
    """What went into a manifest, and what did not."""

    seconds: Counter[str]  # in, kept, and left out by reason
    counts: Counter[str]  # segments, with_text, flagged, texts_lost
    split_seconds: Counter[str]
    unknown: list[str]  # recordings that only the tables name
    texts_lost: Counter[str]  # by reason


class Known(NamedTuple):
    """What tables and splits say about the recordings, by their relative names."""

    splits: dict[str, Split]
    texts: dict[str, list[tuple[float, float, str]]]
    speakers: dict[str, str]


def write_manifest(
    jobs: Sequence[CutJob], paths: dict[str, Path], *, speaker_from: str, drop_flagged: bool
) -> ManifestTally:
    """Stream the results of all ``jobs`` into ``segments.jsonl``.

    speaker_from: "table" (speakers.tsv), "folder" (the recording's first) or "none". drop_flagged: leave out noise and
    music.
    """
    known = read_known(jobs, paths, use_speakers=speaker_from == "table")
    unknown = sorted((known.texts.keys() | known.speakers.keys()) - {job.source for job in jobs})
    tally = ManifestTally(Counter(), Counter(), Counter(), unknown, Counter())

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as out:
            for job in jobs:
                for segment in describe_recording(job, known, speaker_from, tally):
                    if count_segment(segment, tally, drop_flagged):
                        out.write(json.dumps(segment, ensure_ascii=False) + "\n")

    write_atomically(paths["manifest"], write)
    return tally


def read_known(jobs: Sequence[CutJob], paths: dict[str, Path], *, use_speakers: bool) -> Known:
    """The tables, where there are any, and the splits: extended by new recordings, never changed for old ones."""
    splits = freeze_splits(jobs, paths["splits"])
    transcripts, speakers = find_table(paths["transcripts"]), find_table(paths["speakers"])
    return Known(
        splits,
        read_transcripts(transcripts) if transcripts else {},
        read_speakers(speakers) if use_speakers and speakers else {},
    )


def freeze_splits(jobs: Sequence[CutJob], path: Path) -> dict[str, Split]:
    """Read, extend and write ``splits.json``; what stands there never changes."""
    bounds = {job.source: _bounds(read_json(result_file(job))["segments"]) for job in jobs}
    frozen = read_json(path) if path.exists() else {}
    splits = assign_splits({source: found for source, found in bounds.items() if found}, frozen)
    write_json(path, splits)
    return splits


def _bounds(segments: Sequence[CutSegment]) -> list[tuple[float, float]]:
    return [(segment["start"], segment["end"]) for segment in segments]


def describe_recording(job: CutJob, known: Known, speaker_from: str, tally: ManifestTally) -> Iterator[Segment]:
    """The rows of one recording, in order of time; ``tally`` gets its seconds and the texts that no segment holds."""
    result: CutResult = read_json(result_file(job))
    segments = result["segments"]
    tally.seconds.update({"in": result["n_samples"] / SAMPLE_RATE, **result["dropped"]})
    texts, lost = texts_of_segments(_bounds(segments), known.texts.get(job.source, []))
    tally.texts_lost.update(lost)
    tally.counts["texts_lost"] += lost.total()
    speaker = speaker_of(job.source, known.speakers, speaker_from)
    folder = job.segments.relative_to(data_root()).as_posix()
    for number, (segment, text) in enumerate(zip(segments, texts)):
        name = f"{job.stem}_{number:04d}"
        start, end = segment["start"], segment["end"]
        is_flagged = is_noise_or_music(segment["modulation"], segment["flatness_db"])
        yield {
            "id": name,
            "audio": f"{folder}/{name}.wav",
            "source": job.source,
            "start": start,
            "end": end,
            "duration": round(end - start, 4),
            "speaker": speaker,
            "split": split_at(known.splits[job.source], start, end),
            **({"text": text} if text else {}),
            "flags": [NOISE_OR_MUSIC] if is_flagged else [],
        }


def speaker_of(source: str, speakers: dict[str, str], speaker_from: str) -> str | None:
    """The speaker of a recording by the table, by its first folder, or nobody."""
    if speaker_from == "folder":
        return source.partition("/")[0] if "/" in source else None
    return speakers.get(source) if speaker_from == "table" else None


def count_segment(segment: Segment, tally: ManifestTally, drop_flagged: bool) -> bool:
    """Count a row; returns whether it belongs into the manifest."""
    duration, is_flagged = segment["duration"], bool(segment["flags"])
    tally.counts["flagged"] += is_flagged
    if is_flagged and drop_flagged:
        tally.seconds["flagged"] += duration
        return False
    tally.counts.update({"segments": 1, "with_text": "text" in segment})
    tally.seconds["kept"] += duration
    tally.split_seconds[segment["split"]] += duration
    return True
