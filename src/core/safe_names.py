"""Names that are safe for folders on every file system and for the jobs of every scheduler."""

import re
import unicodedata

LONGEST_NAME = 40  # characters: schedulers cut what is much longer
LONGEST_ID = 240  # bytes: file systems allow 255, endings included
_ID = re.compile(r"[^/\\\x00-\x1f]+")
_SAFE = re.compile(rf"[a-z][a-z0-9_-]{{0,{LONGEST_NAME - 1}}}")


def is_folder_name(name: str) -> bool:
    """Whether ``name`` is short, of a-z, 0-9, - and _, and begins with a letter."""
    return bool(_SAFE.fullmatch(name))


def is_file_name(identity: str) -> bool:
    """Whether files may be named after an id, as caches and spoken clips are: no path, and short enough."""
    named = bool(_ID.fullmatch(identity)) and set(identity) != {"."}
    return named and len(identity.encode("utf-8", "surrogatepass")) <= LONGEST_ID


def suggest_folder_name(text: str) -> str | None:
    """A safe name much like ``text``: "Sateré-Mawé" -> "satere-mawe"; None where no Latin letter is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    name = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789")[:LONGEST_NAME].rstrip("-")
    return name or None
