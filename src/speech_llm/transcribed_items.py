"""Transcribed speech from wherever it lies, as ``TranscribedItem``s (core.records).

``load`` of an item can be pickled, so that a DataLoader's workers read for themselves. An item is never cut, since
nobody knows where its text would part. ``encoders.encode.encode`` reads longer audio than an encoder's window in
overlapping windows and joins their frames.
"""

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from audio.audio_io import load_audio
from audio.audio_spans import audio_seconds, load_span
from core.errors import UserError
from core.file_facts import Facts, open_facts, recall, recall_all
from core.files import read_json
from core.hashing import hash_audio_file
from core.records import Segment, TranscribedItem
from core.wording import name_some
from languages import data_root, open_resolver
from segmentation.manifest import read_manifest
from segmentation.recordings import list_sources
from segmentation.splits import assign_splits, split_at
from segmentation.tables import (
    TABLE_SUFFIXES,
    find_table,
    is_past_end,
    match_names,
    read_speakers,
    read_transcripts,
    say_missing_folders,
)
from speech_llm.disk_datasets import is_disk_dataset, read_disk_dataset, refuse_unknown_splits
from speech_llm.tar_shards import list_shards, read_tar_shards

MAX_FAILED_SHARE = 0.05  # of a split's items; more of them without audio is a mistake, not an accident
N_NAMED = 5
TEXT_TABLES = tuple(f"transcripts{suffix}" for suffix in TABLE_SUFFIXES)
INDEX_PATTERNS = ("segments.jsonl", *TEXT_TABLES, "splits.json", "dataset_dict.json", "*/state.json", "state.json")

log = logging.getLogger("oral_units")


def load_transcribed(
    data: str | Path,
    splits: Sequence[str],
    *,
    text_field: str = "text",
    audio_field: str = "audio",
    id_field: str | None = None,
    known_hashes: Path | None = None,
) -> dict[str, list[TranscribedItem]]:
    """The transcribed items of each of ``splits``, in the order of the data.

    data: a folder written by ``datasets.save_to_disk`` (columns ``audio_field`` and ``text_field``; ``id_field`` or
    ``id``, ``speaker``, ``duration`` and ``sampling_rate`` are read where there; rows of one id are numbered), a
    ``data/<language>`` folder with segments.jsonl, or a folder of recordings with transcripts.tsv (splits by recording
    as in segmentation.recordings, or by the splits.json in the folder). Items without text are skipped, counted and
    named.
    known_hashes: the table (core.file_facts) that keeps the hashes of the audio; without one, all audio is read.
    Raises UserError for a folder that is none of these, a split or a column that is not there, a repeated id, and
    where nothing is left.
    """
    folder = Path(data)
    read, fields = _reader_of(folder), {"text_field": text_field, "audio_field": audio_field}
    if id_field is not None:
        if read is not read_disk_dataset:
            raise UserError(f"--id_field {id_field}: names a column of a data set, and {folder} is none; leave it out")
        fields["id_field"] = id_field
    with open_facts(known_hashes, folder.resolve().parent) as facts:
        found = read(folder, list(dict.fromkeys(splits)), facts=facts, **fields)
    return {split: _check_split(folder, split, items, text_field) for split, items in found.items()}


def index_files(data: Path) -> list[Path]:
    """The files that say what a data folder holds."""
    return sorted({path for pattern in INDEX_PATTERNS for path in Path(data).glob(pattern)})


def choose_evenly(items: list[TranscribedItem], limit: int | None) -> list[TranscribedItem]:
    """At most ``limit`` items, spread over the list."""
    if limit is None or len(items) <= limit:
        return items
    return [items[place * len(items) // limit] for place in range(limit)]


def _reader_of(folder: Path) -> Callable:
    if is_disk_dataset(folder):
        return read_disk_dataset
    if (folder / "segments.jsonl").is_file():
        return _read_segments
    if find_table(folder / "transcripts.tsv"):
        return _read_transcripts
    if list_shards(folder):
        return read_tar_shards
    there = data_root() / folder.name
    elsewhere = f"; DATA_ROOT has {there}" if there.is_dir() and not folder.exists() else ""
    raise UserError(
        f"{folder}: expected a data set written by datasets.save_to_disk, or a folder with segments.jsonl, "
        f"transcripts.tsv or tar files, found {'none of them' if folder.is_dir() else 'no such folder'}{elsewhere}; "
        "see docs/speech_llm_data.md"
    )


def _check_split(folder: Path, split: str, items: list[TranscribedItem], text_field: str) -> list[TranscribedItem]:
    """The items that have text and audio; the others are counted and named, and too many without audio refused."""
    unusable = [(item["id"], item["failure"]) for item in items if item.get("failure")]
    silent = [item["id"] for item in items if not item.get("failure") and not item["text"]]
    if silent:
        told = f"{folder}, {split}: {len(silent)} of {len(items)} items without text are left out"
        log.warning("%s: %s", told, name_some(silent, N_NAMED))
    if unusable:
        _refuse_too_many(f"{folder}, {split}", unusable, len(items))
    kept = [item for item in items if item["text"] and not item.get("failure")]
    if not kept:
        raise UserError(
            f"{folder}, {split}: expected items with '{text_field}', found none of {len(items)}; add transcripts"
        )
    repeated = [name for name, count in Counter(item["id"] for item in kept).items() if count > 1]
    if repeated:
        raise UserError(f"{folder}, {split}: expected unique ids, found '{repeated[0]}' twice; rename one")
    return kept


def _refuse_too_many(where: str, unusable: list[tuple[str, str]], n_items: int) -> None:
    """Name the items without usable audio, (id, why); UserError where they are too large a share."""
    names, reasons = zip(*unusable)
    told = f"{where}: {len(unusable)} of {n_items} items have no usable audio: {name_some(names, N_NAMED)}"
    if len(unusable) > MAX_FAILED_SHARE * n_items:
        raise UserError(f"{told}; the first: {reasons[0]}")
    log.warning("%s; left out", told)


def _read_segments(
    folder: Path, splits: list[str], *, text_field: str, audio_field: str, facts: Facts
) -> dict[str, list[TranscribedItem]]:
    """Items of segments.jsonl, whose audio paths are relative to the folder above."""
    manifest, resolve = folder / "segments.jsonl", open_resolver(folder.resolve().parent)
    found: dict[str, list[TranscribedItem]] = {split: [] for split in splits}
    known: dict[str, None] = {}
    keys: set[str] = set()
    has_text = False
    for row in read_manifest(manifest):
        known[row["split"]], has_text = None, has_text or bool(row.get(text_field))
        keys.update(row)
        if row["split"] in found:
            found[row["split"]].append(_segment_item(row, resolve(row[audio_field]), text_field))
    refuse_unknown_splits(manifest, splits, known)
    if not has_text:
        raise UserError(
            f"{manifest}: expected texts under '{text_field}', found none; its keys: {', '.join(sorted(keys))}"
        )
    _identify_all(facts, [item for items in found.values() for item in items])
    return found


def _segment_item(row: Segment, audio: str, text_field: str) -> TranscribedItem:
    return {
        "id": row["id"],
        "duration": float(row["duration"]),
        "text": clean_text(row.get(text_field)),
        "speaker": row.get("speaker"),
        "hash": "",
        "load": functools.partial(load_audio, audio),
    }


def clean_text(text: str | None) -> str:
    """One line with single spaces; "" for no text."""
    return " ".join((text or "").split())


def _identify_all(facts: Facts, items: list[TranscribedItem]) -> None:
    """Give each item the hash of its whole file, or say why there is none."""
    paths = [item["load"].args[0] for item in items]
    for item, path, found in zip(items, paths, recall_all(facts, "hash", paths, hash_audio_file, title="hashing")):
        if isinstance(found, OSError):
            item["failure"] = f"{path}: {found.strerror}"
        else:
            item["hash"] = found


def _read_transcripts(
    folder: Path, splits: list[str], *, text_field: str, audio_field: str, facts: Facts
) -> dict[str, list[TranscribedItem]]:
    """Items of the table of texts: one a row, over recordings that lie in the folder or in its ``raw``."""
    table, speaker_table = find_table(folder / "transcripts.tsv"), find_table(folder / "speakers.tsv")
    recordings = folder / "raw" if (folder / "raw").is_dir() else folder
    sources = list_sources(recordings)
    texts = match_names(read_transcripts(table), sources)
    missing = [source for source in texts if source not in sources]
    if missing:
        raise UserError(
            f"{table}: expected the recordings it names under {recordings}, found no {name_some(missing, N_NAMED)}; "
            f"'source' is the path from that folder on{say_missing_folders(missing, sources)}"
        )
    frozen = read_json(folder / "splits.json") if (folder / "splits.json").is_file() else {}
    spans = {source: [(start, end) for start, end, _ in rows] for source, rows in texts.items()}
    placed = assign_splits(spans, frozen)
    speakers = match_names(read_speakers(speaker_table), sources) if speaker_table else {}
    found: dict[str, list[TranscribedItem]] = {}
    for source, rows in sorted(texts.items()):
        for split, item in _source_items(facts, sources[source], (source, speakers.get(source)), rows, placed[source]):
            found.setdefault(split, []).append(item)
    refuse_unknown_splits(table, splits, sorted(found))
    return {split: found[split] for split in splits}


def _source_items(
    facts: Facts, audio: Path, named: tuple[str, str | None], rows: list[tuple[float, float, str]], placed: str | list
) -> Iterator[tuple[str, TranscribedItem]]:
    """(split, item) for each row of one recording; a row for the whole file carries the recording's name.

    named: the recording's name and its speaker.
    """
    source, speaker = named
    length = float(recall(facts, "seconds", audio, lambda: repr(audio_seconds(audio))))
    whole_hash = recall(facts, "hash", audio, lambda: hash_audio_file(audio))
    for start, end, text in rows:
        whole = start == 0 and end == float("inf")
        until = min(end, length)
        item: TranscribedItem = {
            "id": source if whole else f"{source}_{start:010.3f}",
            "duration": until - start,
            "text": clean_text(text),
            "speaker": speaker,
            "hash": "",
            "load": functools.partial(load_span, audio, start, end),
        }
        if is_past_end(start, end, length):
            item |= {"failure": f"{audio}: {start:g} to {end:g} s lies outside its {length:.1f} s"}
            yield split_at(placed, min(start, length), length), item
            continue
        part = hashlib.sha256(f"{whole_hash} {start} {end}".encode()).hexdigest()
        yield split_at(placed, start, until), item | {"hash": whole_hash if whole else part}
