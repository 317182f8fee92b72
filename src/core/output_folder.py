"""A folder that a command fills: checked before the work, and without what an earlier run left there."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError
from core.files import write_json

NOTES = ".written.json"
SOUND_ENDINGS = frozenset((".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".mp4"))


def claim_folder(folder: Path, flag: str = "--out") -> None:
    """Make ``folder``. UserError where it is a file, holds recordings of others, or cannot be written to.

    Better now than after hours of work, and than annotations strewn among the recordings.
    """
    folder = Path(folder)
    if recordings := _recordings_in(folder):
        raise UserError(
            f"{flag} {folder}: expected a folder for the results, found recordings ({recordings[0]}); give another name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{flag} {folder}: expected a folder, found a file; give another name") from error
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: cannot be written to ({os.strerror(error.errno)}); give a folder of your own"
        ) from error


def drop_earlier(folder: Path, written: Iterable[Path]) -> None:
    """Remove what an earlier run wrote into ``folder`` and this one did not; a note there keeps the names for the next.

    What nobody noted, such as a user's own file, stays.
    """
    folder = Path(folder)
    names = sorted({str(Path(path).relative_to(folder)) for path in written})
    for name in set(_noted(folder)) - set(names):
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()):
            with contextlib.suppress(OSError):
                path.unlink()
    write_json(folder / NOTES, names)


def _recordings_in(folder: Path) -> list[str]:
    """Sound files that lie in ``folder`` itself, and not because an earlier run wrote them."""
    try:
        found = [path.name for path in folder.iterdir() if path.suffix.lower() in SOUND_ENDINGS]
    except OSError:
        return []
    return sorted(set(found) - set(_noted(folder)))


def _noted(folder: Path) -> list[str]:
    try:
        found = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
