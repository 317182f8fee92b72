"""Units that other tools made, read from their files: one utterance at a time, its units on our frames of 20 ms."""

import ast
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.frames import SAMPLE_RATE, UNIT_RATE
from units.corpus import expand
from units.exchange_formats import CSV_UNIT
from units.exchange_writing import ACOUSTEMES_SUFFIX
from units.requests import LONGEST_FRAMES

# How a file or its folder calls a split.
SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
PARQUET_ROWS = 1000  # in memory at a time
CODE_KEYS = ("hubert", "cpc_km100", "vqvae256")  # what speech-resynthesis calls units, by their encoder
MAX_OFF_GRID = 0.25  # of a frame, by which a time may miss its frame
# What Python, csv and pyarrow raise for a file that is cut, nested too deep, or not what it should be.
DAMAGED = (LookupError, TypeError, ValueError, SyntaxError, OSError, AttributeError, ArithmeticError, csv.Error)
DAMAGED += (RecursionError, NotImplementedError, MemoryError)


class ForeignUtterance(NamedTuple):
    """What a foreign file says of one utterance; None where it says nothing."""

    id: str
    frame_units: np.ndarray  # (F, N) int64, at 50 Hz
    audio: str | None = None  # a path as it stands there
    seconds: float | None = None
    split: str | None = None
    speaker: str | None = None
    text: str | None = None
    origin: Mapping[str, str | float] = {}  # source, start and end, where the file has them


def find_files(form: str, path: Path) -> list[Path]:
    """``path`` itself, or the files of the format below it, in the order of their names."""
    pattern = READERS[form][0]
    found = [path] if path.is_file() else sorted(path.rglob(pattern)) if path.is_dir() else []
    if not found:
        raise UserError(f"--input {path}: expected a file, or a folder with {pattern} ({form}), found none")
    return found


def read_foreign(form: str, files: Sequence[Path], rate: int) -> Iterator[ForeignUtterance]:
    """The utterances of the files, one at a time.

    rate: of the units there, Hz; each is repeated 50 / rate times. Raises UserError, naming the file, for what is not
    of the format.
    """
    for file in files:
        try:
            yield from READERS[form][1](file, rate)
        except DAMAGED as error:
            if isinstance(error, UserError):
                raise
            reason = f"no {error}" if isinstance(error, KeyError) else (str(error).splitlines() or ["nothing"])[0][:200]
            raise UserError(f"{file}: expected units as {form} writes them, found {reason}; check --from") from error


def split_of(file: Path) -> str | None:
    """The split that a word of the file's name, or the whole name of its folder, names."""
    words = [SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", file.stem.lower()) if word in SPLIT_WORDS]
    return words[-1] if words else SPLIT_WORDS.get(file.parent.name)


def as_frames(units: Sequence[int], rate: int, durations: Sequence[int] | None = None) -> np.ndarray:
    """(U,) ids, of ``durations`` or one step each at ``rate`` Hz -> (F, 1) int64 at 50 Hz.

    Raises ValueError for ids that are negative or no whole numbers, and for more than 24 hours.
    """
    ids = _whole(units)
    steps = np.ones(len(ids), np.int64) if durations is None else _whole(durations)
    if len(ids) and ids.min() < 0:
        raise ValueError(f"the unit {ids.min()}")
    if len(ids) != len(steps):
        raise ValueError(f"{len(ids)} units and {len(steps)} durations")
    if steps.min(initial=0) < 0:
        raise ValueError("a duration below 0")
    n_frames = steps.sum(dtype=np.float64) * (UNIT_RATE // rate)  # floats do not run over
    if n_frames > LONGEST_FRAMES:
        raise ValueError(f"{n_frames:.0f} frames of 20 ms, more than 24 hours")
    return np.repeat(expand(ids, steps), UNIT_RATE // rate)[:, None]


def _whole(numbers: Sequence[float]) -> np.ndarray:
    """(U,) int64; ValueError where one of them has a fraction, is too large or no number."""
    found = np.asarray(numbers).reshape(-1)
    if not len(found):
        return np.zeros(0, np.int64)
    if found.dtype.kind not in "iuf" or (np.abs(found) >= 2**53).any() or (found != np.floor(found)).any():
        raise ValueError("units or durations that are no whole numbers")
    return found.astype(np.int64)


def _numbers(text: str) -> list[int]:
    """Ids between blanks or commas."""
    return [int(word) for word in text.replace(",", " ").split()]


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that hold something."""
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def _parsed(file: Path, parse: Callable[[str], Mapping]) -> Iterator[Mapping]:
    """The object of each line; UserError with its number where a line is none."""
    for number, line in _rows(file):
        try:
            row = parse(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            reason = (str(error).splitlines() or ["nothing"])[0][:200]
            raise UserError(f"{file}, line {number}: expected one object a line, found {reason}") from error
        if not isinstance(row, Mapping):
            raise UserError(f"{file}, line {number}: expected one object a line, found {line:.40}")
        yield row


def read_acoustemes(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    """One utterance a file: its runs, or, where it holds them too, its units step by step."""
    content = json.loads(file.read_text(encoding="utf-8"))
    name = file.name.removesuffix(ACOUSTEMES_SUFFIX).removesuffix(".json")
    seconds, n_steps = float(content["duration_sec"]), int(content["num_frames"])
    if content.get("units"):
        frames = as_frames(content["units"], rate)
    else:
        runs = content["segments"]
        starts = _steps_of([run["start"] for run in runs], seconds, n_steps, rate, file)
        durations = np.diff(starts, append=n_steps)
        if runs and (starts[0] != 0 or (durations < 1).any()):
            raise UserError(f"{file}: expected runs that follow each other from 0 s, found a gap or an overlap")
        frames = as_frames([run["unit_id"] for run in runs], rate, durations)
    yield ForeignUtterance(name, frames, seconds=seconds, split=SPLIT_WORDS.get(file.parent.name))


def _steps_of(starts: Sequence[float], seconds: float, n_steps: int, rate: int, file: Path) -> np.ndarray:
    """Seconds -> numbers of steps, for times on a grid of 1 / rate, or spread evenly over the whole duration."""
    times = np.asarray(starts, np.float64)
    lengths = [1 / rate, seconds / max(n_steps - 1, 1), seconds / max(n_steps, 1)]
    places = [times / length for length in lengths if length > 0]
    best = min(places, key=lambda place: np.abs(place - np.round(place)).max(initial=0))
    if np.abs(best - np.round(best)).max(initial=0) > MAX_OFF_GRID:
        raise UserError(f"{file}: expected times on a grid of {n_steps} steps in {seconds:g} s, found others")
    return np.round(best).astype(np.int64)


def read_csv(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    """A row a run of units; rows of one id stand together, in their order."""
    with open(file, encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        names = table.fieldnames or []
        streams = [name for name in names if re.fullmatch(rf"{CSV_UNIT}(_\d+)?", name)]
        missing = {"id", "start", "end", CSV_UNIT} - set(names)
        if missing:
            raise UserError(f"{file}: expected the columns id, start, end, unit, missing {', '.join(sorted(missing))}")
        for name, group in groupby(table, key=lambda row: row["id"]):
            yield _from_runs(file, name, list(group), streams, rate)


def _from_runs(file: Path, name: str, rows: list[dict], streams: list[str], rate: int) -> ForeignUtterance:
    edges = np.array([[float(row["start"]), float(row["end"])] for row in rows]) * rate
    if not np.isfinite(edges).all():
        raise UserError(f"{file}: {name}: expected start and end in seconds, found NaN or Inf")
    whole = np.round(edges).astype(np.int64)
    follows = whole[0, 0] == 0 and (whole[1:, 0] == whole[:-1, 1]).all() and (whole[:, 1] > whole[:, 0]).all()
    if np.abs(edges - whole).max() > MAX_OFF_GRID or not follows:
        raise UserError(f"{file}: {name}: expected rows that follow each other from 0 s in steps of {1 / rate:g} s")
    durations = np.diff(whole, axis=1)[:, 0]
    frames = np.hstack([as_frames([int(row[stream]) for row in rows], rate, durations) for stream in streams])
    kept = {key: rows[0].get(key) or None for key in ("audio", "split", "speaker")}
    split = SPLIT_WORDS.get(kept.pop("split") or "") or split_of(file)
    return ForeignUtterance(name, frames, split=split, **kept)


def read_hifigan(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    for row in _parsed(file, json.loads):
        audio = str(row["audio"])
        speaker = row.get("speaker")
        yield ForeignUtterance(Path(audio).stem, as_frames(row["units"], rate), audio, None, split_of(file), speaker)


def read_discophon(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    for row in _parsed(file, json.loads):
        yield ForeignUtterance(Path(str(row["file"])).name, as_frames(row["units"], rate), split=split_of(file))


def read_resynthesis(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    """Python literals, read as such: nothing in them is run."""
    for row in _parsed(file, ast.literal_eval):
        code = next((row[key] for key in CODE_KEYS if key in row), None)
        if code is None:
            raise UserError(f"{file}: expected units under one of {', '.join(CODE_KEYS)}, found {', '.join(row)}")
        audio, seconds = str(row["audio"]), float(row["duration"]) if "duration" in row else None
        yield ForeignUtterance(Path(audio).stem, as_frames(_numbers(code), rate), audio, seconds, split_of(file))


def read_fairseq(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    for number, line in _rows(file):
        name, bar, units = line.partition("|")
        if not bar:
            raise UserError(f"{file}, line {number}: expected name|1 2 3, found {line:.40}")
        yield ForeignUtterance(name.strip(), as_frames(_numbers(units), rate), split=split_of(file))


def read_textless(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    """Units, beside them durations and the manifest of the same name, where there are any; all in one order."""
    lengths, manifest = file.with_suffix(".durations"), file.with_suffix(".tsv")
    durations = (_numbers(line.rpartition("\t")[2]) for _, line in _rows(lengths)) if lengths.is_file() else None
    recordings = _textless_recordings(manifest) if manifest.is_file() else None
    for number, line in _rows(file):
        name, _, units = line.rpartition("\t")
        audio, seconds = next(recordings, (None, None)) if recordings else (None, None)
        if not (name or audio):
            raise UserError(f"{file}, line {number}: expected name<TAB>1 2 3, or names in {manifest.name}, found none")
        frames = as_frames(_numbers(units), rate, next(durations, []) if durations else None)
        yield ForeignUtterance(name or Path(audio).stem, frames, audio, seconds, split_of(file))


def _textless_recordings(manifest: Path) -> Iterator[tuple[str, float]]:
    """(audio, seconds) of a fairseq manifest: the folder, then a path and its samples a line."""
    rows = _rows(manifest)
    _, root = next(rows, (0, ""))
    for _, line in rows:
        path, _, n_samples = line.partition("\t")
        yield str(Path(root) / path), int(n_samples) / SAMPLE_RATE


def read_slamkit(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    for row in _parsed(file, json.loads):
        if "units" not in row and "audio_repr" in row:
            raise UserError(f"{file}: these tokens have no timing; give SlamKit's features, with units and duration")
        audio, durations = str(row["file_name"]), row["duration"]
        yield ForeignUtterance(Path(audio).stem, as_frames(row["units"], rate, durations), audio, None, split_of(file))


def read_parquet(file: Path, rate: int) -> Iterator[ForeignUtterance]:
    """Rows with id and units; with durations they are runs, else a unit a step."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(file).iter_batches(PARQUET_ROWS):
        for row in batch.to_pylist():
            first = as_frames(row["units"], rate, row.get("durations"))
            further = [as_frames(stream, rate) for stream in row.get("residual_units") or []]
            kept = {key: row.get(key) for key in ("audio", "speaker", "text")}
            kept["origin"] = {key: row[key] for key in ("source", "start", "end") if row.get(key) is not None}
            seconds, split = row.get("duration"), split_of(file)
            yield ForeignUtterance(row["id"], np.hstack([first, *further]), seconds=seconds, split=split, **kept)


# Which files of a folder are read, and how. SlamKit's tokens have no timing.
READERS: dict[str, tuple[str, Callable[[Path, int], Iterator[ForeignUtterance]]]] = {
    "acoustemes": ("*acoustemes.json", read_acoustemes),
    "csv": ("*.csv", read_csv),
    "discophon": ("units-*.jsonl", read_discophon),
    "fairseq": ("*.txt", read_fairseq),
    "hf": ("*.parquet", read_parquet),
    "slamkit": ("*features*.jsonl", read_slamkit),
    "speech-resynthesis": ("*.txt", read_resynthesis),
    "textless": ("*.units", read_textless),
    "unit-hifigan": ("*.jsonl", read_hifigan),
}
