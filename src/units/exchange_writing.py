"""Phase 1's utterances into the files of another tool's format, as they stream; a file is whole or not there."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from core.errors import UserError
from core.files import write_atomically, write_text
from core.records import SPLITS, Utterance
from units.exchange_formats import FORMATS, PARQUET_SPLITS, Surroundings, TextFile, acoustemes, as_json

ROWS_AT_ONCE = 1000  # of a parquet file
ACOUSTEMES_SUFFIX = "_acoustemes.json"
# What each split's utterances are read with, again for each file: the splits wanted -> utterances.
Utterances = Callable[[Sequence[str]], Iterable[Utterance]]


def write_units(folder: Path, form: str, utterances: Utterances, splits: Sequence[str], around: Surroundings) -> int:
    """Write ``splits`` into ``folder``, which appears whole; returns the number of files.

    Files of an earlier run that have other names stay. Raises UserError for streams the format has no place for.
    """
    folder = Path(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        names = _write_all(unfinished, form, utterances, splits, around)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / name, folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(names)


def _write_all(
    folder: Path, form: str, utterances: Utterances, splits: Sequence[str], around: Surroundings
) -> list[str]:
    if form == "acoustemes":
        return [_write_acoustemes(folder, utterance) for utterance in utterances(splits)]
    if form == "hf":
        return [_write_parquet(folder, split, utterances([split]), around) for split in splits]
    return [name for file in FORMATS[form].files for name in _write_text_file(folder, file, utterances, splits, around)]


def _write_acoustemes(folder: Path, utterance: Utterance) -> str:
    name = f"{utterance['split']}/{utterance['id']}{ACOUSTEMES_SUFFIX}"
    write_text(folder / name, as_json(acoustemes(utterance)) + "\n")
    return name


def _write_text_file(
    folder: Path, file: TextFile, utterances: Utterances, splits: Sequence[str], around: Surroundings
) -> Iterator[str]:
    for chosen in [[split] for split in splits] if "{split}" in file.name else [list(splits)]:
        split = (file.splits or {}).get(chosen[0], chosen[0])
        name = file.name.format(split=split, language=around.language)
        with open(folder / name, "w", encoding="utf-8", newline="") as out:
            out.write(file.head(around))
            out.writelines(file.lines(utterance, around) for utterance in utterances(chosen))
        yield name


def _write_parquet(folder: Path, split: str, utterances: Iterable[Utterance], around: Surroundings) -> str:
    """One split as ``load_dataset`` finds it in a folder, a thousand utterances in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    integers = pyarrow.list_(pyarrow.int32())
    columns = [(name, pyarrow.string()) for name in ("id", "audio", "source", "speaker", "text")]
    columns += [(name, pyarrow.float64()) for name in ("duration", "start", "end")]
    columns += [("unit_rate", pyarrow.int32()), ("units", integers), ("durations", integers)]
    columns += [("residual_units", pyarrow.list_(integers))] if around.n_streams > 1 else []
    schema, rows = pyarrow.schema(columns), iter(utterances)
    name = f"data/{PARQUET_SPLITS[split]}-00000-of-00001.parquet"

    def write(path: Path) -> None:
        with parquet.ParquetWriter(path, schema) as out:
            while held := list(islice(rows, ROWS_AT_ONCE)):
                out.write_table(pyarrow.Table.from_pylist(held, schema=schema))

    write_atomically(folder / name, write)
    return name


def check_streams(form: str, n_streams: int) -> None:
    if n_streams > 1 and "streams" not in FORMATS[form].holds:
        able = ", ".join(name for name, found in FORMATS.items() if "streams" in found.holds)
        raise UserError(
            f"--format {form}: holds one stream of units, found {n_streams}; choose one of {able}, or give "
            "--first_stream to write the first one alone"
        )


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it may be written into."""
    if out.is_file():
        raise UserError(f"--out {out}: expected a folder, found a file; give another name")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UserError(f"--out {out}: holds files already; give --overwrite to replace those of the same name")


def first_stream(utterance: Utterance) -> Utterance:
    return {key: value for key, value in utterance.items() if key != "residual_units"}


def count_utterances(utterances: Iterable[Utterance]) -> tuple[list[str], int, bool]:
    """(the splits that have utterances, number of utterances, whether each has a speaker)."""
    counts, all_speak = dict.fromkeys(SPLITS, 0), True
    for utterance in utterances:
        counts[utterance["split"]] += 1
        all_speak &= bool(utterance.get("speaker"))
    return [split for split, count in counts.items() if count], sum(counts.values()), all_speak
