"""The tables of a folder of recordings, copied to where they are read: the folder itself is never written to."""

import filecmp
import itertools
import shutil
import sys
from pathlib import Path

from core.files import hash_files, read_json, write_json
from segmentation.tables import TABLE_NAMES, TABLE_SUFFIXES, find_table

RECORD = "copied_tables.json"  # name of a table -> SHA-256 of what was copied


def copy_tables(folder: Path, paths: dict[str, Path], *, known_only: bool = False) -> list[str]:
    """Copy the tables of texts and speakers, where ``folder`` holds them, to where segment_audio.py reads them.

    What was copied is remembered by its content, not by its date. A table there that somebody changed since stays, and
    that is said; one that is gone from ``folder`` goes there too. known_only: only those that were copied before, or
    that are not there at all. Returns the names of the tables that ``folder`` holds.
    """
    record = paths["cache"] / RECORD
    copied = read_json(record) if record.is_file() else {}
    names, hashes = [], {}
    for name in TABLE_NAMES:
        given = find_table(folder / f"{name}.tsv")
        there = [table for suffix in TABLE_SUFFIXES if (table := paths[name].with_suffix(suffix)).is_file()]
        if known_only and there and name not in copied:
            continue
        edited = [table for table in there if is_edited(table, given, copied.get(name))]
        if given and not edited:
            replace_tables(there, given, paths[name].with_suffix(given.suffix), known=name in copied)
            names.append(given.name)
            hashes[name] = hash_files([given])
        elif given:
            print(f"{edited[0]}: was changed here, kept; delete it to take {given}", file=sys.stderr)
            names.append(given.name)
        elif name in copied and not edited:
            for table in there:
                print(f"{table}: is no longer in {folder}; removed here too", file=sys.stderr)
                table.unlink()
    if hashes != copied:
        write_json(record, hashes)
    return names


def tables_differ(folder: Path, paths: dict[str, Path]) -> bool:
    """Whether ``folder`` holds other tables than those that were copied from it."""
    record = paths["cache"] / RECORD
    copied = read_json(record) if record.is_file() else {}
    given = {name: table for name in TABLE_NAMES if (table := find_table(folder / f"{name}.tsv"))}
    return copied != {name: hash_files([table]) for name, table in given.items()}


def replace_tables(there: list[Path], given: Path, target: Path, *, known: bool) -> None:
    """Put ``given`` in the place of the tables ``there``; one that is no known copy is moved aside, never deleted."""
    for table in there:
        if table.samefile(given):
            continue
        if known or filecmp.cmp(given, table, shallow=False):
            table.unlink()
            continue
        names = (table.with_name(f"{table.stem}_replaced_{number}{table.suffix}") for number in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        table.rename(aside)
        print(f"{table}: is older than {given}, which replaces it; moved to {aside}", file=sys.stderr)
    if not target.exists():
        shutil.copy2(given, target)


def is_edited(table: Path, given: Path | None, copied: str | None) -> bool:
    """Whether ``table`` is somebody's work: neither what was copied once (its SHA-256) nor what would be now."""
    if given and filecmp.cmp(given, table, shallow=False):
        return False
    if copied:
        return hash_files([table]) != copied
    return given is None or table.stat().st_mtime > given.stat().st_mtime
