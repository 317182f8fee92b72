"""The recordings of a language: which there are, and how their segments are named."""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from core.composed_names import composed
from core.errors import UserError
from core.wording import printable
from segmentation.folder_survey import describe_ignored, survey_folder

log = logging.getLogger("oral_units")

LONGEST_STEM = 100  # characters; file systems allow 255 bytes


def list_sources(raw: Path) -> dict[str, Path]:
    """Relative name -> path of every recording under ``raw``, sorted (``survey_folder``)."""
    return survey_folder(raw).recordings


def find_sources(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> path of every recording named or lying in a named folder; a name is relative to the folder given.

    What lies there and cannot be read, and how many files hold no sound, is said. Raises UserError for a path that is
    not there, a folder without recordings, and two recordings of one name.
    """
    sources: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = _find_inside(path)
        elif path.is_file():
            inside = {composed(printable(path.name)): path}
        else:
            raise UserError(f"{path}: expected an audio file or a folder, found nothing; check the path")
        refuse_repeated([*sources, *inside])
        sources |= inside
    return sources


def _find_inside(folder: Path) -> dict[str, Path]:
    survey = survey_folder(folder)
    ignored = describe_ignored(survey.ignored)
    if not survey.recordings and not survey.unreadable:
        raise UserError(f"{folder}: expected recordings, found none{f' ({ignored})' if ignored else ''}")
    if ignored:
        log.warning("%s: %s", folder, ignored)
    for name, reason in survey.unreadable.items():
        log.warning("%s: %s: left out: %s", folder, name, reason)
    if not survey.recordings:
        raise UserError(f"{folder}: expected recordings, found none that can be read")
    return survey.recordings


def refuse_repeated(names: Iterable[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise UserError(f"recordings of the same name would overwrite each other: {', '.join(repeated)}; rename them")


def name_stems(sources: Iterable[str]) -> dict[str, str]:
    """Source -> a stem of [A-Za-z0-9_.-] for its segments' ids, unique (case ignored) and short enough for a file."""
    stems, taken = {}, set()
    for source in sources:
        plain = unicodedata.normalize("NFKD", os.path.splitext(source)[0]).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._-")[:LONGEST_STEM] or "recording"
        if stem.lower() in taken:
            stem = f"{stem}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        taken.add(stem.lower())
        stems[source] = stem
    return stems
