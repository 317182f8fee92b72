"""Paths on Modal: what a container writes outside of the volume is lost when it ends.

So ``exp`` and ``data`` of the container's working folder are links into the volume, paths that leave it are refused
before anything is submitted, and files that a script leaves beside them are moved onto the volume.
"""

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.errors import UserError
from languages import data_root, exp_root
from launching.modal_account import MOUNT

LINKED = ("exp", "data")
VARIABLES_OF_FLAGS = ("DATA_ARGS", "PHASE1_ARGS", "PHASE2_ARGS", "PHASE3_ARGS")
STRAY_FOLDER = "working_folder"  # in the experiment's folder: what its script left beside exp/ and data/


def check_paths(words: Sequence[str], environment: dict[str, str]) -> None:
    """UserError for a path of the command, or of a variable that holds flags, that leaves the volume."""
    for word in words:
        _check_path(word)
    for name in VARIABLES_OF_FLAGS:
        for word in shlex.split(environment.get(name, "")):
            _check_path(word, f"{name}: ")


def _check_path(word: str, place: str = "") -> None:
    value = word.partition("=")[2] if word.startswith("--") else word
    if any(letter.isspace() for letter in value):  # a text
        return
    path = PurePosixPath(value)
    if path.is_absolute() and not path.is_relative_to(MOUNT):
        remedy = f"give {found}" if (found := _below_roots(path)) else "give a path below exp/ or data/"
        raise UserError(f"{place}{word}: this path is not on Modal's volume, so it would be lost; {remedy}")
    if value.startswith("~") or ".." in path.parts:
        raise UserError(f"{place}{word}: expected a path below exp/ or data/, which lie on Modal's volume")


def _below_roots(path: PurePosixPath) -> str | None:
    """How a path below this machine's EXP_ROOT or DATA_ROOT is written on every machine: ``exp/mine``."""
    for name, root in (("exp", exp_root()), ("data", data_root())):
        if path.is_relative_to(root):
            return str(PurePosixPath(name) / path.relative_to(root))
    return None


def link_roots(working_folder: Path) -> None:
    """Make ``exp`` and ``data`` of ``working_folder`` the volume's own; UserError where other files lie there."""
    working_folder.mkdir(parents=True, exist_ok=True)
    for name, root in zip(LINKED, (exp_root(), data_root())):
        root.mkdir(parents=True, exist_ok=True)
        link = working_folder / name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(root, target_is_directory=True)
        if link.resolve() != root.resolve():
            raise UserError(f"{link}: expected a link to {root}, found other files; results there would be lost")


def list_files(working_folder: Path) -> dict[str, tuple[int, int]]:
    """Relative path -> (bytes, ns since the epoch) of every file that is not on the volume, byte code left out."""
    found = {}
    for folder, folders, names in os.walk(working_folder):  # which follows no links
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for path in (Path(folder) / name for name in names):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                found[str(path.relative_to(working_folder))] = (status.st_size, status.st_mtime_ns)
    return found


def rescue_strays(working_folder: Path, before: dict[str, tuple[int, int]], experiment: Path) -> list[Path]:
    """Copy files that are new or changed since ``before`` into ``experiment``; returns where they lie now."""
    rescued = []
    for name, status in list_files(working_folder).items():
        if before.get(name) != status:
            target = experiment / STRAY_FOLDER / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(working_folder / name, target)
            rescued.append(target)
    return rescued
