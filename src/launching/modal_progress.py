"""Whether an attempt got anywhere: only then is it worth another one on a machine that costs money."""

import hashlib
from pathlib import Path

# What every start writes, and what a script says: they change, and a second attempt gains nothing by them.
NO_PROGRESS_NAMES = {"config.json", "jobs", "working_folder"}
NO_PROGRESS_SUFFIXES = {".log", ".tmp"}


def progress_mark(experiment: Path) -> str:
    """A short hash over what a second attempt would go on from; equal marks: nothing was gained in between.

    Where there are checkpoints, they are what counts; else every file does (a phase skips what is finished).
    """
    checkpoints = experiment / "checkpoints"
    root = checkpoints if checkpoints.is_dir() else experiment
    rows = [
        f"{path.relative_to(root)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted(root.rglob("*"))
        if path.is_file() and _counts(path.relative_to(root))
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16] if rows else ""


def _counts(path: Path) -> bool:
    return path.parts[0] not in NO_PROGRESS_NAMES and path.suffix not in NO_PROGRESS_SUFFIXES
