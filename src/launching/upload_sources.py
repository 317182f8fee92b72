"""What an upload takes from this machine: a language's segments, or a folder of transcribed speech."""

import os
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.packed_files import INDEX, is_file, is_packed, stored_in
from languages import data_root, language_paths, resolve_in
from launching.modal_image_contents import IGNORED_FOLDERS, SECRET_WORDS
from segmentation.manifest import read_manifest
from segmentation.tables import TABLE_NAMES, TABLE_SUFFIXES

# What says which files there are, and what is said in them: put last, so that none names a file that is not there.
TABLES = (
    *(f"{name}{suffix}" for name in TABLE_NAMES for suffix in TABLE_SUFFIXES),
    "segmentation.json",
    "splits.json",
    "segments.jsonl",
)
LEFT_FOLDERS = {*IGNORED_FOLDERS, "cache"} - {"data"}


class UploadSource(NamedTuple):
    """Files to pack into archives, and tables to put beside them."""

    folder: str  # below data/ of the volume, as in "satere"
    root: Path  # what the names below are relative to; data/ on the volume
    files: list[tuple[str, int]]  # (name, bytes)
    tables: list[str]  # names, in the order in which they are put


def language_source(language: str) -> UploadSource:
    """The segments that the manifest names, and the tables beside it; UserError where a segment is missing."""
    paths, found = language_paths(language), {}
    for row in read_manifest(paths["manifest"]):
        if not is_file(resolve_in(data_root(), row["audio"])):
            path = resolve_in(data_root(), row["audio"])
            raise UserError(f"{path}: expected the segment {row['id']}, found none; run scripts/segment_audio.py again")
        name = stored_in(row["audio"])
        for one in (name, f"{name.removesuffix('.tar')}{INDEX}") if is_packed(row["audio"]) else (name,):
            if one not in found and (path := resolve_in(data_root(), one)).is_file():
                found[one] = path.stat().st_size
    folder = paths["data"].relative_to(data_root()).as_posix()
    return UploadSource(folder, data_root(), list(found.items()), _tables_of(paths["data"], folder))


def folder_source(folder: Path) -> UploadSource:
    """Every file of a folder that src/trainer_base.py --data reads: recordings with texts, a data set on disk.

    A folder below DATA_ROOT keeps its place, others lie at data/<name>. Caches, hidden files and what is called like a
    secret stay here. UserError for a folder without files, and for a language's, which has a manifest.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of transcribed speech, found none")
    if (folder / "segments.jsonl").exists():
        raise UserError(f"{folder}: has a segments.jsonl; upload it as --language {folder.name}")
    below = data_root().absolute()
    root = below if folder.is_relative_to(below) and folder != below else folder.parent
    place = folder.relative_to(root).as_posix()
    tables = _tables_of(folder, place)
    files = [
        (name, path.stat().st_size)
        for path in _walk(folder)
        if _goes_up(path.relative_to(folder)) and (name := path.relative_to(root).as_posix()) not in tables
    ]
    if not files:
        raise UserError(f"{folder}: expected recordings or a data set on disk, found no file to upload")
    return UploadSource(place, root, files, tables)


def _walk(folder: Path) -> list[Path]:
    """All files below ``folder``, links to folders followed; UserError for a link to nothing."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen]
        found += [Path(place) / name for name in names]
    for path in found:
        if not path.exists():
            raise UserError(f"{path}: expected a file, found a link to nothing ({os.readlink(path)})")
    return sorted(path for path in found if path.is_file())


def _tables_of(folder: Path, place: str) -> list[str]:
    return [f"{place}/{name}" for name in TABLES if (folder / name).is_file()]


def _goes_up(path: Path) -> bool:
    """``path``: relative to the uploaded folder."""
    names = [part.lower() for part in path.parts]
    left = any(name.startswith(".") for name in names) or any(name in LEFT_FOLDERS for name in names[:-1])
    return not left and not any(word in names[-1] for word in (*SECRET_WORDS, "token.txt"))
