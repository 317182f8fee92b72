"""Names whatever their Unicode form: a Mac writes é as e and an accent, most keyboards as one letter.

Tables and manifests hold the composed form (NFC); a disk holds whatever was written to it.
"""

import contextlib
import unicodedata
from pathlib import Path


def composed(name: str) -> str:
    """One name, whether its accents are letters of their own or not."""
    return unicodedata.normalize("NFC", name)


def find_composed(folder: Path, name: str) -> Path:
    """``folder / name``, each part of the name as it lies on the disk in any form, and as it is where it does not."""
    path = folder / name
    if name.isascii() or path.exists():
        return path
    found = folder
    for part in Path(name).parts:
        found = found / part if (found / part).exists() else _find_child(found, part)
    return found


def find_typed(path: Path) -> Path:
    """A path that a person typed, as it lies on the disk; what nobody may look at stays as it is."""
    if str(path).isascii():
        return path
    with contextlib.suppress(OSError):
        known = path if path.exists() else next((above for above in path.parents if above.exists()), None)
        return path if known is None else find_composed(known, str(path.relative_to(known)))
    return path


def _find_child(folder: Path, name: str) -> Path:
    inside = folder.iterdir() if folder.is_dir() else ()
    return next((child for child in inside if composed(child.name) == composed(name)), folder / name)
