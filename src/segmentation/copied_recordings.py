"""Recordings that lie in a folder twice, under two names: one of them is cut, or training and test might share it."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from core.files import hash_files

SAMPLED_BYTES = 1 << 16  # of a file's middle: most files of one size differ there, and need not be read


def find_copies(sources: Mapping[str, Path], mentions: Mapping[str, int]) -> dict[str, str]:
    """Recording -> the one that is kept of all with its bytes: the one with most ``mentions``, then the shortest name.

    sources: relative name -> path. Files are read where another has their size, and wholly where it has their middle.
    """
    alike = [list(sources)]
    for key_of in (_size_of, _read_middle, lambda path: hash_files([path])):
        alike = [group for names in alike for group in _part(names, sources, key_of)]
    copies = {}
    for names in alike:
        kept = min(names, key=lambda name: (-mentions.get(name, 0), len(name), name))
        copies |= {name: kept for name in names if name != kept}
    return dict(sorted(copies.items()))


def _part(names: Iterable[str], sources: Mapping[str, Path], key_of: Callable[[Path], object]) -> Iterable[list[str]]:
    """The names whose files have the same key, where there are several; what cannot be read is no copy."""
    groups = defaultdict(list)
    for name in names:
        try:
            groups[key_of(sources[name])].append(name)
        except OSError:
            continue  # cutting it says why
    groups.pop(0, None)  # bytes: empty files
    return [group for group in groups.values() if len(group) > 1]


def _size_of(path: Path) -> int:
    return os.path.getsize(path)


def _read_middle(path: Path) -> bytes:
    with open(path, "rb") as stream:
        stream.seek(os.path.getsize(path) // 2)
        return stream.read(SAMPLED_BYTES)
