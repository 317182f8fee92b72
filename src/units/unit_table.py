"""Phase 1's corpus as columns on disk, so that a training starts in seconds and holds none of it in memory.

``corpus_timestamped.json`` is for people and other tools; parsing 2,000 hours of it takes a minute. The first training
writes each key as one array of all utterances, below the language's cache; later ones map them. A table belongs to one
state (size and date) of the corpus and is made again where that changes; deleting it costs time and nothing else.

Axes: U utterances, F frames (50 Hz) of all utterances one after the other, N unit streams.
"""

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tqdm import tqdm

from core.errors import UserError
from core.file_facts import stamp
from core.files import read_json, write_json
from core.locks import lock_of, only_one
from core.packed_files import name_key
from core.records import SPLITS, Utterance
from units.corpus import frame_units, read_corpus

TABLE_VERSION = 2
PATIENCE = 6 * 3600.0  # s, for which a process waits while another makes the table
# One file each. place, n_bytes: where the JSON line [id, audio] lies in names.jsonl. speaker: row of the speakers, -1
# where nobody is named. flags: a bit each.
COLUMNS = {
    "first_frame": "i8",
    "n_frames": "i4",
    "place": "i8",
    "n_bytes": "i4",
    "key": "u8",
    "seconds": "f8",
    "split": "i1",
    "speaker": "i4",
    "flags": "i4",
}
BATCH = 4096  # utterances that are written together

log = logging.getLogger("oral_units")


class UnitTable(NamedTuple):
    """An open table; ``read_column`` and ``map_units`` read it."""

    corpus: Path
    folder: Path
    n_utterances: int
    n_frames: int
    n_streams: int
    dtype: str  # of the units: int16 where they fit
    speakers: list[str]
    flags: list[str]  # names of the bits
    largest_unit: int


def require_units_below(table: UnitTable, n_units: int) -> None:
    """UserError for a corpus with units that its k-means does not have: of another run, or edited."""
    if table.largest_unit >= n_units:
        raise UserError(f"{table.corpus}: expected units below {n_units}, found {table.largest_unit}; rerun phase 1")


def open_table(corpus: Path, cache: Path) -> UnitTable:
    """The table of a corpus, made first where there is none yet. Raises UserError for a damaged corpus."""
    if not Path(corpus).is_file():
        next(read_corpus(corpus))  # says what is missing
    folder = _table_folder(corpus, cache)
    if not (folder / "about.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{folder}: another process has been making this table for hours"
        with only_one(lock_of(folder.parent / _family(corpus)), patience=PATIENCE, busy=busy):
            if not (folder / "about.json").exists():
                _make_table(corpus, folder)
    return UnitTable(corpus, folder, **read_json(folder / "about.json"))


def read_column(table: UnitTable, name: str) -> np.ndarray:
    """(U,) of one of ``COLUMNS``, mapped."""
    return _map(table.folder / f"{name}.bin", COLUMNS[name], (table.n_utterances,))


def map_units(table: UnitTable) -> np.ndarray:
    """(F, N) units of all utterances, mapped."""
    return _map(table.folder / "units.bin", table.dtype, (table.n_frames, table.n_streams))


def open_names(table: UnitTable) -> BinaryIO:
    """The lines [id, audio]; ``read_name`` reads one."""
    return open(table.folder / "names.jsonl", "rb", buffering=0)


def read_name(names: BinaryIO, place: int, n_bytes: int) -> tuple[str, str]:
    """(id, audio) of the line of ``n_bytes`` at ``place``; threads may share the file."""
    name, audio = json.loads(os.pread(names.fileno(), n_bytes, place))
    return name, audio


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype, "r", shape=shape) if all(shape) else np.zeros(shape, dtype)


def _family(corpus: Path) -> str:
    """What the tables of one corpus are called, whatever its state."""
    where = hashlib.sha256(str(Path(corpus).resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{Path(corpus).parent.name}_{where}"


def _table_folder(corpus: Path, cache: Path) -> Path:
    state = hashlib.sha256(f"{TABLE_VERSION} {stamp(corpus)}".encode()).hexdigest()[:8]
    return Path(cache) / "unit_tables" / f"{_family(corpus)}_{state}"


def _make_table(corpus: Path, folder: Path) -> None:
    """Write the table beside its place, then rename it; tables of older states of the corpus are deleted."""
    for old in folder.parent.glob(f"{_family(corpus)}_*"):
        shutil.rmtree(old, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    for torn in folder.parent.glob(f".{_family(corpus)}_*.tmp"):  # ours alone: the lock is held
        shutil.rmtree(torn, ignore_errors=True)
    temporary.mkdir()
    try:
        about = _write_columns(corpus, temporary)
        write_json(temporary / "about.json", about)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class _Growing(NamedTuple):
    """What is known while the columns are written."""

    speakers: dict[str, int]
    flags: dict[str, int]
    totals: dict[str, int]  # n_utterances, n_frames, n_bytes, n_streams, largest unit


def _write_columns(corpus: Path, folder: Path) -> dict[str, object]:
    growing = _Growing({}, {}, {"n_utterances": 0, "n_frames": 0, "n_bytes": 0, "n_streams": 0, "largest": 0})
    files = {name: open(folder / f"{name}.bin", "wb") for name in (*COLUMNS, "units")}
    try:
        with open(folder / "names.jsonl", "wb") as names:
            for batch in _batches(corpus):
                rows = [_describe(corpus, utterance, growing, files["units"], names) for utterance in batch]
                for name, values in zip(COLUMNS, zip(*rows)):
                    files[name].write(np.array(values, COLUMNS[name]).tobytes())
    finally:
        for file in files.values():
            file.close()
    dtype = _narrow(folder / "units.bin", growing.totals["largest"])
    kept = {name: growing.totals[name] for name in ("n_utterances", "n_frames")}
    streams = {"n_streams": growing.totals["n_streams"] or 1, "dtype": dtype}
    kept["largest_unit"] = growing.totals["largest"]
    return kept | streams | {"speakers": list(growing.speakers), "flags": list(growing.flags)}


def _batches(corpus: Path) -> Iterator[list[Utterance]]:
    batch: list[Utterance] = []
    size = os.path.getsize(corpus)
    hidden = True if size < 64 << 20 else None
    with tqdm(desc="reading the units once", unit=" utterances", disable=hidden) as progress:
        for utterance in read_corpus(corpus):
            batch.append(utterance)
            if len(batch) == BATCH:
                yield batch
                progress.update(len(batch))
                batch = []
    if batch:
        yield batch


def _describe(
    corpus: Path, utterance: Utterance, growing: _Growing, units_file: BinaryIO, names: BinaryIO
) -> tuple[object, ...]:
    """Write units and name of an utterance; returns its values of ``COLUMNS``."""
    units, totals = frame_units(utterance), growing.totals
    if len(units) and units.shape[1] != (totals["n_streams"] or units.shape[1]):
        raise UserError(
            f"{corpus}: expected {totals['n_streams']} streams of units everywhere, found {units.shape[1]} in "
            f"{utterance['id']}; rerun phase 1"
        )
    first, place = totals["n_frames"], totals["n_bytes"]
    units_file.write(np.ascontiguousarray(units, "<i4").tobytes())
    line = (json.dumps([utterance["id"], utterance["audio"]]) + "\n").encode("utf-8")
    names.write(line)
    if len(units):
        totals["n_streams"] = units.shape[1]
        totals["largest"] = max(totals["largest"], int(units.max()))
    totals["n_frames"], totals["n_bytes"] = first + len(units), place + len(line)
    totals["n_utterances"] += 1
    speaker, flags = utterance.get("speaker"), utterance.get("flags") or []
    row = growing.speakers.setdefault(speaker, len(growing.speakers)) if speaker else -1
    bits = sum(1 << growing.flags.setdefault(flag, len(growing.flags)) for flag in set(flags))
    split, key = SPLITS.index(utterance["split"]), name_key(utterance["id"])
    return first, len(units), place, len(line), key, utterance["duration"], split, row, bits


def _narrow(path: Path, largest: int) -> str:
    """Rewrite int32 units as int16 where they fit, block by block, so that a frame takes 2 bytes; returns the type."""
    if largest > np.iinfo(np.int16).max:
        return "int32"
    narrow = path.with_suffix(".narrow")
    with open(path, "rb") as wide, open(narrow, "wb") as out:
        while block := wide.read(4 << 20):
            out.write(np.frombuffer(block, "<i4").astype("<i2").tobytes())
    os.replace(narrow, path)
    return "int16"
