"""Transcribed items of a Hugging Face data set on disk (``datasets.save_to_disk``), read without its audio decoders.

``datasets.Audio`` columns are decoded here with what decodes everything else; columns of arrays, of
{"array", "sampling_rate"} and of paths serve too.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio
from audio.audio_spans import audio_seconds, decode_bytes, resample
from core.errors import UserError
from core.file_facts import Facts, look_up, recall, stamp
from core.frames import SAMPLE_RATE
from core.hashing import hash_audio_file, hash_content
from core.records import TranscribedItem

SPEAKER_COLUMNS = ("speaker", "speaker_id")


def refuse_unknown_splits(data: Path, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Name the splits that there are where one of ``wanted`` is not among them."""
    known = list(dict.fromkeys(known))
    missing = [split for split in wanted if split not in known]
    if missing:
        raise UserError(
            f"{data}: expected a split '{missing[0]}', found {', '.join(known) or 'none'}; give one of them"
        )


def is_disk_dataset(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def list_splits(folder: Path, audio_field: str = "audio") -> list[str]:
    return list(_open(str(folder), audio_field))


def read_disk_dataset(
    folder: Path, splits: list[str], *, text_field: str, audio_field: str, facts: Facts, id_field: str | None = None
) -> dict[str, list[TranscribedItem]]:
    """{split: items} as in ``speech_llm.transcribed_items``; a data set without splits counts as ``train``."""
    known = _open(str(folder), audio_field)
    refuse_unknown_splits(folder, splits, known)
    for split in splits:
        columns = ", ".join(f"{name} ({kind})" for name, kind in _describe_columns(known[split]))
        for flag, field in (("text_field", text_field), ("audio_field", audio_field), ("id_field", id_field)):
            if field is not None and field not in known[split].column_names:
                raise UserError(
                    f"{folder}, {split}: expected a column '{field}', found {columns}; --{flag} names another"
                )
        if getattr(known[split].features[text_field], "dtype", None) not in ("string", "large_string"):
            raise UserError(
                f"{folder}, {split}: expected text in '{text_field}', found {columns}; --text_field names it"
            )
    fields = {"text_field": text_field, "audio_field": audio_field, "id_field": id_field}
    return {split: list(_read_items(folder, split, known[split], facts=facts, **fields)) for split in splits}


def _describe_columns(rows) -> list[tuple[str, str]]:
    return [(name, getattr(kind, "dtype", None) or type(kind).__name__) for name, kind in rows.features.items()]


@functools.lru_cache(maxsize=8)
def _open(folder: str, audio_field: str) -> dict[str, object]:
    """{split: memory-mapped datasets.Dataset}, audio left as it is stored; one handle a process."""
    import datasets  # takes seconds to import

    found = datasets.load_from_disk(folder)
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {str(found.split or "train"): found}
    for split, rows in splits.items():
        if isinstance(rows.features.get(audio_field), datasets.Audio):
            splits[split] = rows.cast_column(audio_field, datasets.Audio(decode=False))
    return splits


def _read_items(
    folder: Path, split: str, rows, *, text_field: str, audio_field: str, facts: Facts, id_field: str | None
) -> Iterator[TranscribedItem]:
    names = [name for name in ("duration", *SPEAKER_COLUMNS) if name in rows.column_names]
    columns = {name: rows[name][:] for name in names}
    ids, durations = _name_rows(split, rows, id_field), columns.get("duration", [None] * len(rows))
    speakers = next((columns[name] for name in SPEAKER_COLUMNS if name in columns), [None] * len(rows))
    texts, mark = rows[text_field][:], _stamp_rows(rows, audio_field)
    for index in tqdm(range(len(rows)), desc=f"reading {split}", unit=" items", disable=None):
        item: TranscribedItem = {
            "id": ids[index],
            "duration": 0.0,
            "text": " ".join((texts[index] or "").split()),
            "speaker": None if speakers[index] is None else str(speakers[index]),
            "hash": "",
            "load": functools.partial(load_row, str(folder), split, index, audio_field),
        }
        try:
            stated = _as_seconds(durations[index])
            audio_hash, seconds = _recall_row(
                facts, rows, (folder, split, index), audio_field=audio_field, stated_seconds=stated, mark=mark
            )
            item |= {"hash": audio_hash, "duration": seconds}
        except (UserError, OSError) as error:
            item |= {"failure": str(error)}
        yield item


def _name_rows(split: str, rows, id_field: str | None) -> list[str]:
    """A name for each row: its own id, with the row's number where several rows share one or it has none."""
    width, field = len(str(len(rows))), id_field or "id"
    given = rows[field][:] if field in rows.column_names else [None] * len(rows)
    counts = Counter(map(str, given))
    numbered = [f"{split if name is None else name}_{index:0{width}d}" for index, name in enumerate(given)]
    names = [number if name is None or counts[str(name)] > 1 else str(name) for name, number in zip(given, numbered)]
    # A number may make a name that another row has already.
    return names if len(set(names)) == len(names) else [f"{number}_row" for number in numbered]


def _as_seconds(stated: object) -> float | None:
    """A duration as the data set states it, if it is one."""
    try:
        seconds = float(stated)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < float("inf") else None


def _stamp_rows(rows, audio_field: str) -> str:
    """What must not change while facts about rows hold: the files of the table, and the column."""
    return " ".join([audio_field, *(stamp(file["filename"]) for file in rows.cache_files)])


def _recall_row(
    facts: Facts, rows, place: tuple[Path, str, int], *, audio_field: str, stated_seconds: float | None, mark: str
) -> tuple[str, float]:
    """The hash of a row's audio and its seconds; UserError or OSError where it cannot be read."""
    folder, split, index = place
    name = f"{folder / split / str(index)} {audio_field}"
    known = look_up(facts, "row", name, mark)
    if known is None:
        kind, value, rate = _stored_audio(folder, rows[index], audio_field)
        if kind == "file":
            # The table of rows holds a path; what lies there may change without it.
            audio_hash = recall(facts, "hash", value, lambda: hash_audio_file(value))
            seconds = stated_seconds or float(recall(facts, "seconds", value, lambda: repr(audio_seconds(value))))
            return audio_hash, seconds
        known = recall(facts, "row", name, lambda: " ".join(_identify(kind, value, rate, stated_seconds)), mark)
    audio_hash, seconds = known.split(" ")
    return audio_hash, float(seconds)


def _identify(kind: str, value: object, rate: int, stated_seconds: float | None) -> tuple[str, str]:
    """The hash of audio that lies in a row, and its seconds."""
    if kind == "array":
        seconds = max(np.shape(value), default=0) / rate
        return hash_content(np.ascontiguousarray(value).tobytes() + str(rate).encode()), repr(float(seconds))
    return hash_content(value), repr(float(audio_seconds(value) if stated_seconds is None else stated_seconds))


def _stored_audio(folder: Path, row: dict[str, object], audio_field: str) -> tuple[str, object, int]:
    """("bytes", content, 0), ("file", path, 0) or ("array", samples, rate) of one row."""
    value = row[audio_field]
    if isinstance(value, dict) and value.get("bytes"):
        return "bytes", value["bytes"], 0
    if isinstance(value, dict) and value.get("array") is not None:
        return "array", np.asarray(value["array"]), int(value.get("sampling_rate") or SAMPLE_RATE)
    if isinstance(value, dict):
        value = value.get("path")
    if isinstance(value, str) and value:
        return "file", folder / value, 0
    if isinstance(value, (list, np.ndarray)) and len(value):
        return "array", np.asarray(value), int(row.get("sampling_rate") or SAMPLE_RATE)
    raise UserError(f"expected audio in '{audio_field}' (content, path or samples), found none")


def _sample_type(feature: object) -> str | None:
    """The integer type that a column of samples states, which rows lose as lists of numbers; None for all others."""
    if isinstance(feature, dict):
        feature = feature.get("array")
    while hasattr(feature, "feature"):
        feature = feature.feature
    name = str(getattr(feature, "dtype", ""))
    return name if name in ("int8", "uint8", "int16", "uint16", "int32", "uint32") else None


def load_row(folder: str, split: str, index: int, audio_field: str) -> np.ndarray:
    """(S,) float32 mono at 16 kHz of one row."""
    rows = _open(folder, audio_field)[split]
    kind, value, rate = _stored_audio(Path(folder), rows[index], audio_field)
    try:
        if kind == "array":
            return resample(value.astype(_sample_type(rows.features[audio_field]) or value.dtype), rate)
        return decode_bytes(value) if kind == "bytes" else load_audio(value)
    except UserError as error:
        raise UserError(f"{folder}, {split}, row {index}: {error}") from error
