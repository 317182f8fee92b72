"""Files that are either whole or not there."""

import contextlib
import filecmp
import hashlib
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from core.disk_errors import disk_error_number
from core.errors import UserError

_unfinished: set[Path] = set()  # what this process is writing


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then rename it into place; nothing is left of a failure.

    A disk that is full, read-only or failing gives an OSError that names ``path``, whatever a library made of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes on other machines may write to the same folder, and have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    _unfinished.add(temporary)
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, Exception) and (number := disk_error_number(error)):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        _unfinished.discard(temporary)


def delete_unfinished() -> None:
    """Delete what this process is writing: it is about to end. What its parent wrote as it began stays."""
    for temporary in [path for path in _unfinished if f".{os.getpid()}." in path.name]:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_if_changed(path: Path, write: Callable[[Path], None]) -> None:
    """``write_atomically``, but a file that would hold the same bytes keeps its date."""

    def write_new(temporary: Path) -> None:
        write(temporary)
        if Path(path).is_file() and filecmp.cmp(temporary, path, shallow=False):
            times = os.stat(path)
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))

    write_atomically(path, write_new)


def is_current(made: Path, source: Path) -> bool:
    """Whether ``made`` is there and not older than the file it was computed from."""
    return made.exists() and made.stat().st_mtime_ns >= Path(source).stat().st_mtime_ns


def safe_members(archive: tarfile.TarFile, folder: Path) -> list[tarfile.TarInfo]:
    """All members; UserError for one that is no plain file or folder, or would leave ``folder``.

    Checked here as well, since Python before 3.11.4 (Debian 12's) knows no extraction filters.
    """
    members = archive.getmembers()
    for member in members:
        inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise UserError(f"{archive.name}: {member.name} is no plain file or folder inside the archive; refused")
    return members


def unpack_tar(archive: tarfile.TarFile, folder: Path) -> None:
    """Plain files and folders below ``folder``; UserError for a member that leaves it or is a link or device."""
    safe_members(archive, folder)
    filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(folder, **filters)  # noqa: S202 (safe_members has looked at each)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path, kind: type | None = dict) -> Any:
    """What a JSON file holds: an object or, as ``kind`` says, a list, or anything (None).

    Raises UserError for a file that is missing, that holds no JSON, such as half of it, or something of another kind.
    """
    try:
        # An editor may have put a mark before it.
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a JSON file, found none") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found {error}; copy it again, or delete it and run again") from error
    if kind and not isinstance(found, kind):
        wanted = "a JSON object" if kind is dict else f"a JSON {kind.__name__}"
        raise UserError(f"{path}: expected {wanted}, found {found!r:.40}; copy it again, or delete it and run again")
    return found


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 text as it streams, without a byte order mark. UserError for other bytes."""
    number = 0
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                yield number, line
    except UnicodeDecodeError as error:
        place = f"{path}, after line {number}"
        raise UserError(f"{place}: expected UTF-8, found {error.reason}; save it as UTF-8, or make it again") from error


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
