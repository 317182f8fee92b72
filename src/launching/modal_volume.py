"""Files on Modal's volume, by its client: what lies there, and what is no longer to lie there.

volume: a modal.Volume, or what has its ``listdir``, ``read_file``, ``remove_file`` and ``batch_upload`` as well.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from launching.archives import MARK
from launching.upload_sources import UploadSource

DATA, EXP = "data", "exp"  # below the volume's root: DATA_ROOT and EXP_ROOT of every job
ARCHIVES = f"{DATA}/.archives"
RAW = "raw"
DIRECTORY = 2  # modal.types.FileEntryType


def list_folder(volume: object, path: str) -> list[str]:
    """Names of files and folders in a folder; none where there is no such folder."""
    return [PurePosixPath(entry.path).name for entry in _entries(volume, path, recursive=False)]


def list_files(volume: object, path: str) -> list[str]:
    """Paths below the volume's root of all files in a folder and in those below it."""
    found = _entries(volume, path, recursive=True)
    return sorted(entry.path.strip("/") for entry in found if int(entry.type) != DIRECTORY)


def _entries(volume: object, path: str, *, recursive: bool) -> list:
    import modal

    try:
        return volume.listdir(path, recursive=recursive)
    except modal.exception.NotFoundError:
        return []


def archive_folder(folder: str) -> str:
    """Where the archives and marks of data/``folder`` lie."""
    return f"{ARCHIVES}/{folder.replace('/', '--')}"


def put_tables(volume: object, source: UploadSource) -> list[str]:
    """Put the tables; returns their names."""
    with volume.batch_upload(force=True) as batch:
        for name in source.tables:
            batch.put_file(source.root / name, f"{DATA}/{name}")
    return [PurePosixPath(name).name for name in source.tables]


def unnamed_files(volume: object, source: UploadSource) -> list[str]:
    """Files of data/<folder> that ``source`` no longer holds, and what may hold them too: caches, archives left over.

    Caches stay where every recording is still named. raw/, which an upload never fills, stays.
    """
    place = f"{DATA}/{source.folder}"
    kept = {f"{DATA}/{name}" for name, _ in source.files} | {f"{DATA}/{name}" for name in source.tables}
    there = [path for path in list_files(volume, place) if not path.startswith(f"{place}/{RAW}/")]
    caches = [path for path in there if path.startswith(f"{place}/cache/")]
    gone = [path for path in there if path not in kept and path not in caches]
    archives = [path for path in list_files(volume, archive_folder(source.folder)) if not path.endswith(MARK)]
    return [*archives, *gone, *(caches if gone else [])]


def experiments_of(volume: object, language: str, others: Collection[str]) -> list[str]:
    """Names below exp/ that bear the language's name."""
    return sorted(name for name in list_folder(volume, EXP) if bears_name(name, language, others))


def bears_name(name: str, language: str, others: Collection[str]) -> bool:
    """Whether ``name`` begins with the language's name, and not with one of ``others`` that begins so too."""
    longer = tuple(f"{other}_" for other in others if other.startswith(f"{language}_"))
    return name.startswith(f"{language}_") and not name.startswith(longer)


def forget_archives_of(volume: object, removed: Collection[str]) -> None:
    """Remove the marks of all archives that hold one of ``removed`` (paths on the volume): they go up again, if ever.

    As launching.archives.forget_archives, from outside of a container.
    """
    names = {path.removeprefix(f"{DATA}/") for path in removed}
    for path in list_files(volume, ARCHIVES):
        if not path.endswith(MARK):
            continue
        held = json.loads(b"".join(volume.read_file(path))).get("names")
        if held is None or not names.isdisjoint(held):
            volume.remove_file(path)


def remove_files(volume: object, paths: Iterable[str]) -> None:
    """Remove files, one call each; one that is gone already is well."""
    for path in paths:
        try:
            volume.remove_file(path)
        except FileNotFoundError:
            continue


def remove_folders(volume: object, paths: Sequence[str]) -> None:
    """Remove folders with all that lies below them."""
    for path in paths:
        try:
            volume.remove_file(path, recursive=True)
        except FileNotFoundError:
            continue
