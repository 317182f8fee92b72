"""A disk that is full, read-only or failing: recognised in whatever a library raises, and said in one line."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# Rust's and Python's words for a number, also where a worker process hands on the text alone.
NUMBER = re.compile(r"\[Errno (\d+)\]|os error (\d+)|Os \{ code: (\d+)|No space left on device \((\d+)\)")
# torch.save, numpy's tofile and soundfile say only that less was written.
CUT_SHORT = re.compile(r"PytorchStreamWriter failed writing|\d+ requested and \d+ written|unexpected pos \d+ vs")


def disk_error_number(error: BaseException) -> int | None:
    """One of ``DISK_ERRORS`` where the error, or one that it came from, is of the disk; else None."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = getattr(error, "errno", None)
        found = [number] if number else [int(next(filter(None, words))) for words in NUMBER.findall(str(error))]
        if CUT_SHORT.search(str(error)):
            found.append(errno.ENOSPC)
        if known := next((number for number in found if number in DISK_ERRORS), None):
            return known
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def describe_disk_error(number: int, path: Path | str | None) -> str:
    """One line: which disk, how much room it has, and what to do. ``path``: a file on it, where it is known."""
    disk = disk_of(path) if path else _fullest_disk() if number == errno.ENOSPC else None
    name = disk or "the disk that was written to"
    file = f" (writing {path})" if path else ""
    if number == errno.EROFS:
        return f"{name} is read-only{file}; set DATA_ROOT and EXP_ROOT to a disk that can be written to"
    if number == errno.EIO:
        return f"{name}: reading or writing failed{file}: input/output error; check the disk, its cable or its server"
    if number == errno.EDQUOT:
        return f"your quota on {name} is used up{file}; delete what you no longer need, or ask for more"
    free, files_free = shutil.disk_usage(disk).free // 1_000_000, os.statvfs(disk).f_favail
    left = f"{free} MB free" + ("" if files_free else " and no room for further files")
    return f"no space left on {name}: {left}{file}; make room, or set DATA_ROOT and EXP_ROOT to another disk"


def _fullest_disk() -> Path:
    """Of the disks that scripts write to, the one with the least room."""
    places = [os.environ.get("DATA_ROOT"), os.environ.get("EXP_ROOT"), tempfile.gettempdir(), os.getcwd()]
    return min((disk_of(place) for place in places if place), key=lambda disk: shutil.disk_usage(disk).free)


def disk_of(path: Path | str) -> Path:
    """Where the disk that ``path`` lies on is mounted, whether ``path`` exists or not."""
    found = Path(os.path.abspath(path))
    while not (found.exists() and os.path.ismount(found)) and found != found.parent:
        found = found.parent
    return found
