"""Transcribed items of a Hugging Face data set on disk (``datasets.save_to_disk``), read without its audio decoders.

``datasets.Audio`` columns are decoded here with what decodes everything else; columns of arrays, of
{"array", "sampling_rate"} and of paths serve too.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio
from audio.audio_spans import audio_seconds, decode_bytes, resample
from core.errors import UserError
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
    folder: Path, splits: list[str], *, text_field: str, audio_field: str
) -> dict[str, list[TranscribedItem]]:
    """{split: items} as in ``speech_llm.transcribed_items``; a data set without splits counts as ``train``."""
    known = _open(str(folder), audio_field)
    refuse_unknown_splits(folder, splits, known)
    for split in splits:
        columns = ", ".join(f"{name} ({kind})" for name, kind in _describe_columns(known[split]))
        for flag, field in (("text_field", text_field), ("audio_field", audio_field)):
            if field not in known[split].column_names:
                raise UserError(
                    f"{folder}, {split}: expected a column '{field}', found {columns}; --{flag} names another"
                )
        if getattr(known[split].features[text_field], "dtype", None) not in ("string", "large_string"):
            raise UserError(
                f"{folder}, {split}: expected text in '{text_field}', found {columns}; --text_field names it"
            )
    return {split: list(_read_items(folder, split, known[split], text_field, audio_field)) for split in splits}


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


def _read_items(folder: Path, split: str, rows, text_field: str, audio_field: str) -> Iterator[TranscribedItem]:
    names = [name for name in ("id", "duration", *SPEAKER_COLUMNS) if name in rows.column_names]
    columns = {name: rows[name][:] for name in names}
    ids, durations = columns.get("id"), columns.get("duration")
    speakers = next((columns[name] for name in SPEAKER_COLUMNS if name in columns), None)
    texts, width = rows[text_field][:], len(str(len(rows)))
    for index in tqdm(range(len(rows)), desc=f"reading {split}", unit=" items", disable=None):
        item: TranscribedItem = {
            "id": str(ids[index]) if ids is not None else f"{split}_{index:0{width}d}",
            "duration": 0.0,
            "text": " ".join((texts[index] or "").split()),
            "speaker": None if speakers is None or speakers[index] is None else str(speakers[index]),
            "hash": "",
            "load": functools.partial(load_row, str(folder), split, index, audio_field),
        }
        stated = durations[index] if durations is not None else None
        try:
            audio_hash, seconds = _identify(folder, rows[index], audio_field, stated)
            item |= {"hash": audio_hash, "duration": seconds}
        except (UserError, OSError) as error:
            item |= {"failure": str(error)}
        yield item


def _identify(
    folder: Path, row: dict[str, object], audio_field: str, stated_seconds: float | None
) -> tuple[str, float]:
    """The hash of the row's audio and its seconds; UserError or OSError where it cannot be read."""
    kind, value, rate = _stored_audio(folder, row, audio_field)
    if kind == "array":
        seconds = max(np.shape(value), default=0) / rate
        return hash_content(np.ascontiguousarray(value).tobytes() + str(rate).encode()), float(seconds)
    audio_hash = hash_content(value) if kind == "bytes" else hash_audio_file(value)
    return audio_hash, float(audio_seconds(value) if stated_seconds is None else stated_seconds)


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


def load_row(folder: str, split: str, index: int, audio_field: str) -> np.ndarray:
    """(S,) float32 mono at 16 kHz of one row."""
    kind, value, rate = _stored_audio(Path(folder), _open(folder, audio_field)[split][index], audio_field)
    try:
        if kind == "array":
            return resample(value, rate)
        return decode_bytes(value) if kind == "bytes" else load_audio(value)
    except UserError as error:
        raise UserError(f"{folder}, {split}, row {index}: {error}") from error
