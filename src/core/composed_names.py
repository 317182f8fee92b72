"""Names whatever their Unicode form: a Mac writes é as e and an accent, most keyboards as one letter.

Tables and manifests hold the composed form (NFC); a disk holds whatever was written to it.
"""

import unicodedata
from pathlib import Path


def composed(name: str) -> str:
    """One name, whether its accents are letters of their own or not."""
    return unicodedata.normalize("NFC", name)


def find_composed(folder: Path, name: str) -> Path:
    """The file below ``folder`` whose relative name is ``name`` but for its form; ``folder / name`` where none is."""
    path = folder / name
    if path.exists() or name.isascii():
        return path
    found = folder
    for part in Path(name).parts:
        inside = found.iterdir() if found.is_dir() else ()
        found = next((file for file in inside if composed(file.name) == composed(part)), None)
        if found is None:
            return path
    return found
