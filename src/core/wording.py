"""Names in messages: on one line each, and not too many of them."""

from collections.abc import Sequence


def printable(name: str) -> str:
    """A name on one line: what is not UTF-8, and control characters, as escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def name_some(names: Sequence[str], most: int) -> str:
    """The first ``most`` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
