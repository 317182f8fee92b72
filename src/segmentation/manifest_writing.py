"""The results of all recordings → ``segments.jsonl`` and ``splits.json``."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.files import read_json, write_if_changed, write_json
from core.frames import SAMPLE_RATE
from core.records import CutResult, CutSegment, Segment
from languages import data_root
from segmentation.cut_recording import SILERO, CutJob, result_file
from segmentation.joined_clips import describe_clip, join_rows, plan_joins, remove_other_joined
from segmentation.pauses import is_noise_or_music
from segmentation.splits import Split, assign_group_splits, assign_splits, read_splits, split_at
from segmentation.tables import find_table, match_names, read_speakers, read_transcripts, texts_of_segments

NOISE_OR_MUSIC, OVERLAPPING_SPEECH = "noise_or_music", "overlapping_speech"
OF_FAILED, NOT_FOUND = "of a recording that failed", "recording not found"
OF_COPY = "of a copy of another recording"
IN_NOISE = "in segments left out as noise or music"

Texts = dict[str, list[tuple[float, float, str]]]  # recording: start and end in seconds, text


class ManifestTally(NamedTuple):
    """What went into a manifest, and what did not."""

    seconds: Counter[str]  # in, kept, and left out by reason
    counts: Counter[str]  # segments, with_text, flagged, texts_lost; recordings: annotated, lowered, several_tracks…
    split_seconds: Counter[str]
    unknown: list[str]  # recordings that only the tables name
    texts_lost: Counter[str]  # by reason
    empty: list[str]  # recordings of which nothing was kept
    by_network: list[str]  # recordings in which the network found the speech
    not_annotated: Counter[str]  # s of each recording that its annotations leave out


def empty_tally(unknown: Sequence[str] = ()) -> ManifestTally:
    return ManifestTally(Counter(), Counter(), Counter(), list(unknown), Counter(), [], [], Counter())


class Known(NamedTuple):
    """What tables and splits say about the recordings, by their relative names."""

    splits: dict[str, Split]
    texts: Texts
    speakers: dict[str, str]


def write_manifest(
    jobs: Sequence[CutJob],
    paths: dict[str, Path],
    *,
    speaker_from: str,
    drop_flagged: bool,
    texts: Texts,
    split_by: str = "source",
    join_seconds: float = 0.0,
    failed: Collection[str] = (),
    copies: Collection[str] = (),
) -> ManifestTally:
    """Stream the results of all ``jobs`` into ``segments.jsonl``, which stays untouched where nothing changed.

    speaker_from: "table" (speakers.tsv), "folder" (the recording's first) or "none". drop_flagged: leave out noise and
    music. texts: of ``read_texts``. split_by: what never lies in two splits: a source, a folder or a speaker.
    join_seconds: clips shorter than a segment are joined to others up to this length; 0 keeps them as they are. failed:
    names of recordings that gave nothing. copies: names of those left out as copies of others.
    """
    known = read_known(jobs, paths, texts, speaker_from=speaker_from, split_by=split_by, failed=failed)
    unknown = sorted((known.texts.keys() | known.speakers.keys()) - {job.source for job in jobs} - {*failed, *copies})
    tally = empty_tally(unknown)
    for reason, names in ((OF_FAILED, failed), (OF_COPY, copies), (NOT_FOUND, unknown)):
        if n_texts := sum(len(known.texts.get(name, ())) for name in names):
            tally.texts_lost[reason] += n_texts

    joins = find_joins(jobs, known, speaker_from, join_seconds) if join_seconds else {}
    waiting: dict[str, Segment] = {}
    joined: list[str] = []

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as out:
            for job in jobs:
                found = list(describe_recording(job, known, speaker_from, tally))
                rows = list(join_rows(found, joins, waiting, data_root()))
                kept = [segment for segment in rows if count_segment(segment, tally, drop_flagged)]
                joined.extend(segment["id"] for segment in kept if "parts" in segment)
                out.writelines(json.dumps(segment, ensure_ascii=False) + "\n" for segment in kept)
                if not kept and not any(segment["id"] in joins for segment in found):
                    tally.empty.append(job.source)

    write_if_changed(paths["manifest"], write)
    remove_other_joined(paths["segments"], joined)
    tally.counts["texts_lost"] = tally.texts_lost.total()
    return tally


def find_joins(jobs: Sequence[CutJob], known: Known, speaker_from: str, join_seconds: float) -> dict[str, list[str]]:
    """Which clips become one segment (``plan_joins``): whole recordings under the shortest duration, and no noise."""
    clips = []
    for job in jobs:
        rows = list(describe_recording(job, known, speaker_from, empty_tally()))
        if len(rows) == 1 and job.annotations is None and not rows[0]["flags"]:
            clips += [describe_clip(row) for row in rows if row["duration"] < job.flags.min_duration]
    shortest = min((job.flags.min_duration for job in jobs), default=0.0)
    return plan_joins(clips, longest=join_seconds, shortest=shortest)


def read_texts(paths: dict[str, Path]) -> Texts:
    """The table of texts, where there is one."""
    table = find_table(paths["transcripts"])
    return read_transcripts(table) if table else {}


def read_known(
    jobs: Sequence[CutJob],
    paths: dict[str, Path],
    texts: Texts,
    *,
    speaker_from: str,
    split_by: str,
    failed: Collection[str] = (),
) -> Known:
    """The tables, where there are any, and the splits: extended by new recordings, never changed for old ones."""
    speakers = find_table(paths["speakers"])
    named = read_speakers(speakers) if speaker_from == "table" and speakers else {}
    named = match_names(named, {*failed, *(job.source for job in jobs)})
    groups = {job.source: group_of(job.source, named, speaker_from, split_by) for job in jobs}
    splits = freeze_splits(jobs, paths["splits"], groups if split_by != "source" else None, failed)
    return Known(splits, texts, named)


def group_of(source: str, speakers: dict[str, str], speaker_from: str, split_by: str) -> str:
    """What a recording is held together with: its folder or its speaker; itself where it has none."""
    group = source.rpartition("/")[0] if split_by == "folder" else speaker_of(source, speakers, speaker_from)
    return group or source


def freeze_splits(
    jobs: Sequence[CutJob], path: Path, groups: dict[str, str] | None, failed: Collection[str] = ()
) -> dict[str, Split]:
    """Read, extend and write ``splits.json``; what stands there never changes, but recordings that are gone go.

    failed: recordings that are there and gave nothing this time.
    """
    bounds = {job.source: _bounds(read_json(result_file(job))["segments"]) for job in jobs}
    there = {*bounds, *failed}
    decided = read_splits(path) if path.exists() else {}
    frozen = {source: split for source, split in decided.items() if source in there}
    given = {source: found for source, found in bounds.items() if found}
    if groups is None:
        splits = assign_splits(given, frozen)
    else:
        splits = assign_group_splits({source: groups[source] for source in given}, frozen)
    if splits != decided:
        write_json(path, splits)
    return splits


def _bounds(segments: Sequence[CutSegment]) -> list[tuple[float, float]]:
    return [(segment["start"], segment["end"]) for segment in segments]


def describe_recording(job: CutJob, known: Known, speaker_from: str, tally: ManifestTally) -> Iterator[Segment]:
    """The rows of one recording, in order of time; ``tally`` gets its seconds and the texts that no segment holds."""
    result: CutResult = read_json(result_file(job))
    segments = result["segments"]
    tally.seconds.update({"in": result["n_samples"] / SAMPLE_RATE, **result["dropped"]})
    if left_out := result["dropped"].get("not_annotated"):
        tally.not_annotated[job.source] += left_out
    is_annotated = "texts_lost" in result
    detector = result.get("detector")
    tally.counts.update({"annotated": int(is_annotated), "heard_by_network": int(detector == SILERO)})
    tally.by_network.extend([job.source] * (detector == SILERO))
    noted = {"lowered": "lowered_db", "levelled": "levelled_db", "several_tracks": "n_tracks"}
    tally.counts.update({name: int(key in result) for name, key in noted.items()})
    said = [] if is_annotated else known.texts.get(job.source, [])
    texts, lost = texts_of_segments(_bounds(segments), said, result["n_samples"] / SAMPLE_RATE)
    tally.texts_lost.update(result["texts_lost"] if is_annotated else lost)
    speaker = speaker_of(job.source, known.speakers, speaker_from)
    folder = job.segments.relative_to(data_root()).as_posix()
    for number, (segment, text) in enumerate(zip(segments, texts)):
        name = f"{job.stem}_{number:04d}"
        start, end, said = segment["start"], segment["end"], segment.get("text") or text
        yield {
            "id": name,
            "audio": f"{folder}/{name}.wav",
            "source": job.source,
            "start": start,
            "end": end,
            "duration": round(end - start, 4),
            "speaker": segment.get("speaker") or speaker,
            "split": split_at(known.splits[job.source], start, end),
            **({"text": said} if said else {}),
            **({"levelled_db": result["levelled_db"]} if "levelled_db" in result else {}),
            "flags": flags_of(segment),
            **({"detector": detector} if detector else {}),
        }


def flags_of(segment: CutSegment) -> list[str]:
    """What speaks against training a voice on a segment."""
    is_flagged = is_noise_or_music(segment["modulation"], segment["flatness_db"])
    return [NOISE_OR_MUSIC] * is_flagged + [OVERLAPPING_SPEECH] * segment.get("is_overlapped", False)


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
        if "text" in segment:
            tally.texts_lost[IN_NOISE] += 1
        return False
    tally.counts.update({"segments": 1, "with_text": "text" in segment})
    if "parts" in segment:
        duration = sum(part["end"] - part["start"] for part in segment["parts"])
        tally.counts.update({"joined_clips": len(segment["parts"]), "joined_segments": 1})
    tally.seconds["kept"] += duration
    tally.split_seconds[segment["split"]] += duration
    return True
