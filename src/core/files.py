"""Files that are either whole or not there."""

import contextlib
import filecmp
import hashlib
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from core.disk_errors import disk_error_number
from core.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then rename it into place; nothing is left of a failure.

    A disk that is full, read-only or failing gives an OSError that names ``path``, whatever a library made of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes on other machines may write to the same folder, and have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, Exception) and (number := disk_error_number(error)):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


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
    archive.extractall(folder, **filters)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))  # an editor may have put a mark before it
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a JSON file, found none") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected JSON, found {error}") from error


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_features(path: Path, features: "np.ndarray") -> None:
    import numpy as np  # not above: launchers read JSON through this module, and start without it

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out:
            np.save(out, features, allow_pickle=False)

    write_atomically(path, write)
