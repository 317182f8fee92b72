"""A language's segments on the container's own disk: a training reads them again and again, and the volume is far."""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.packed_files import stored_in
from segmentation.manifest import read_manifest

# The same in every container, for config.json records it; nobody else is there.
LOCAL_DATA = Path("/tmp/oral_units_data")  # noqa: S108
COPIES_AT_ONCE = 32  # the volume answers slowly and to many at once
FREE_SHARE = 0.8  # of the disk that the copies may take


@contextlib.contextmanager
def staged_segments(language: str | None, data: Path, local: Path = LOCAL_DATA) -> Iterator[dict[str, str]]:
    """Variables of a command whose segments lie on the own disk while this is open; {} where there is nothing to copy.

    ``data``: DATA_ROOT on the volume, which stays in charge: all but the segments of ``language`` are links into it, so
    that caches are kept. Where the copies cannot be made, the command reads the volume.
    """
    try:
        yield {"DATA_ROOT": str(local)} if language and stage_segments(data, language, local) else {}
    finally:
        shutil.rmtree(local, ignore_errors=True)


def stage_segments(data: Path, language: str, local: Path) -> bool:
    """Copy what the manifest of ``data``/``language`` names to ``local`` and link the rest; whether that was done."""
    manifest = data / language / "segments.jsonl"
    if not manifest.is_file():
        return False  # the command says so
    names = list(dict.fromkeys(stored_in(row["audio"]) for row in read_manifest(manifest)))
    try:
        n_bytes = copy_files(data, local, names)
        (data / language / "cache").mkdir(exist_ok=True)  # made by the command, it would be lost
        link_rest(data, local)
    except OSError as error:
        print(f"warning: {local}: {error}; the segments are read from the volume", file=sys.stderr, flush=True)
        return False
    print(f"{len(names)} segments, {n_bytes / 1e9:.2f} GB, copied to {local}", flush=True)
    return True


def copy_files(source: Path, target: Path, names: Sequence[str]) -> int:
    """Copy files with their dates, many at once; returns their bytes. OSError where they are missing or do not fit."""
    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        n_bytes = sum(pool.map(lambda name: (source / name).stat().st_size, names))
        free = shutil.disk_usage(target.parent).free
        if n_bytes > FREE_SHARE * free:
            raise OSError(f"expected {n_bytes / 1e9:.1f} GB of disk, found {free / 1e9:.1f}")
        for folder in {(target / name).parent for name in names}:
            folder.mkdir(parents=True, exist_ok=True)
        list(pool.map(lambda name: shutil.copy2(source / name, target / name), names))
    return n_bytes


def link_rest(source: Path, target: Path) -> None:
    """What ``source`` has and ``target`` lacks becomes a link, below those folders that both have."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = target / entry.name
        if not place.exists():
            place.symlink_to(entry)
        elif place.is_dir():
            link_rest(entry, place)
