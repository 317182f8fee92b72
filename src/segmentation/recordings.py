"""The recordings of a language: which there are, and how their segments are named."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from audio.audio_io import AUDIO_SUFFIXES
from core.errors import UserError

LONGEST_STEM = 100  # characters; file systems allow 255 bytes


def list_sources(raw: Path) -> dict[str, Path]:
    """Relative name -> path of every audio file under ``raw``, sorted; nested folders and links are followed once.

    Names are POSIX paths in Unicode's composed form, so that splits agree between file systems.
    """
    found, seen = {}, set()
    for folder, subfolders, files in os.walk(raw, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                path = Path(folder) / name
                found[unicodedata.normalize("NFC", path.relative_to(raw).as_posix())] = path
    return dict(sorted(found.items()))


def find_sources(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> path of every audio file named or lying in a named folder; a name is relative to the folder given.

    Raises UserError for a path that is not there, a folder without audio, and two recordings of one name.
    """
    sources: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = list_sources(path)
            if not inside:
                raise UserError(f"{path}: expected audio files ({', '.join(AUDIO_SUFFIXES)}), found none")
        elif path.is_file():
            inside = {unicodedata.normalize("NFC", path.name): path}
        else:
            raise UserError(f"{path}: expected an audio file or a folder, found nothing; check the path")
        refuse_repeated([*sources, *inside])
        sources |= inside
    return sources


def refuse_repeated(names: Iterable[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise UserError(f"recordings of the same name would overwrite each other: {', '.join(repeated)}; rename them")


def name_stems(sources: Iterable[str]) -> dict[str, str]:
    """Source -> a stem of [A-Za-z0-9_.-] for its segments' ids, unique (case ignored) and short enough for a file."""
    stems, taken = {}, set()
    for source in sources:
        plain = unicodedata.normalize("NFKD", source.rpartition(".")[0]).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._-")[:LONGEST_STEM] or "recording"
        if stem.lower() in taken:
            stem = f"{stem}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        taken.add(stem.lower())
        stems[source] = stem
    return stems
