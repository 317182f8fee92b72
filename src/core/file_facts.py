"""What was found out about files once, kept in one table beside them, so that no start reads them all again.

A fact (a hash, a length) holds as long as the size and the time of change of its file stay the same: that is the whole
rule. Deleting the table costs time and nothing else. It is replaced as a whole, so that a kill leaves the old one or
the new one. Of several processes that miss facts, one at a time finds them out, and the others read what it has found.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from core.files import write_atomically
from core.locks import lock_of, only_one
from core.packed_files import file_state

HEADER = "oral-units file facts 1\n"
SAVE_SECONDS = 60.0  # what a kill can cost
PATIENCE = 6 * 3600.0  # s, for which a process waits while another finds out
THREADS = 8  # that read files: network drives answer many questions as fast as one
CHUNK = 64  # files a thread takes at once

log = logging.getLogger("oral_units")


class Facts(NamedTuple):
    """An open table; keys are a kind of fact and a path, relative where it lies below ``root``."""

    file: Path | None  # None: nothing is kept
    root: str
    known: dict[str, tuple[str, str]]  # key -> (stamp, fact)
    fresh: dict[str, tuple[str, str]]  # what the file does not hold yet
    held: contextlib.ExitStack  # with the lock in it once something was missing
    state: dict[str, object]  # "locked", "saved": the time of the last save


@contextlib.contextmanager
def open_facts(file: Path | None, root: Path) -> Iterator[Facts]:
    """The table at ``file``, saved when it is left. A folder that cannot be written to has no table: all is found out.

    root: the folder whose files are named without it, so that it may be moved.
    """
    with contextlib.ExitStack() as held:
        state: dict[str, object] = {"locked": False, "saved": time.monotonic()}
        facts = Facts(file, f"{root}{os.sep}", {}, {}, held, state)
        _read(facts)
        try:
            yield facts
        finally:
            _save(facts)


def stamp(path: str | Path) -> str:
    """What must not change while a fact of the file holds: its size and time of change (ns). OSError without one."""
    size, changed = file_state(path)
    return f"{size} {changed}"


def look_up(facts: Facts, kind: str, path: str | Path, mark: str) -> str | None:
    """The fact where it is known and its ``mark`` has not changed."""
    return _known(facts, _key(facts, kind, str(path)), mark)


def recall(facts: Facts, kind: str, path: str | Path, find: Callable[[], str], mark: str | None = None) -> str:
    """The fact of this kind about a file, found out by ``find`` where it is not known.

    mark: what must not have changed, where it is not the ``stamp`` of the file at ``path``.
    """
    key, mark = _key(facts, kind, str(path)), stamp(path) if mark is None else mark
    if (known := _known(facts, key, mark)) is not None:
        return known
    _lock(facts)
    known = _known(facts, key, mark)
    return _note(facts, key, mark, find()) if known is None else known


def recall_all(
    facts: Facts, kind: str, paths: Sequence[str], find: Callable[[str], str], *, title: str
) -> list[str | OSError]:
    """``recall`` of many files in threads: for each path its fact, or why the file cannot be read."""
    stamped = dict(_find_all(list(dict.fromkeys(paths)), stamp))
    found: dict[str, str | OSError] = {path: mark for path, mark in stamped.items() if not isinstance(mark, str)}
    marks = {path: mark for path, mark in stamped.items() if isinstance(mark, str)}
    missing = _take_known(facts, kind, marks, found)
    if missing:
        _lock(facts)
        missing = _take_known(facts, kind, {path: marks[path] for path in missing}, found)
        for path, fact in _find_all(missing, find, title):
            found[path] = fact
            if isinstance(fact, str):
                _note(facts, _key(facts, kind, path), marks[path], fact)
    return [found[path] for path in paths]


def _take_known(facts: Facts, kind: str, marks: dict[str, str], found: dict[str, str | OSError]) -> list[str]:
    """Move what the table knows into ``found``; returns the paths it does not know."""
    missing = []
    for path, mark in marks.items():
        known = _known(facts, _key(facts, kind, path), mark)
        if known is None:
            missing.append(path)
        else:
            found[path] = known
    return missing


def _find_all(paths: list[str], find: Callable[[str], str], title: str = "") -> Iterator[tuple[str, str | OSError]]:
    """(path, fact) of each, found out in threads; with a title, the time that is left is shown."""

    def find_some(some: list[str]) -> list[str | OSError]:
        return [_try(find, path) for path in some]

    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    hidden = None if title and len(paths) > CHUNK else True
    with ThreadPoolExecutor(THREADS) as pool, tqdm(total=len(paths), desc=title, unit=" files", disable=hidden) as bar:
        for some, values in zip(chunks, pool.map(find_some, chunks)):
            yield from zip(some, values)
            bar.update(len(some))


def _try(find: Callable[[str], str], path: str) -> str | OSError:
    try:
        return find(path)
    except OSError as error:
        return error


def _key(facts: Facts, kind: str, path: str) -> str:
    return f"{kind}\t{path.removeprefix(facts.root)}"


def _known(facts: Facts, key: str, mark: str) -> str | None:
    known = facts.known.get(key)
    return known[1] if known is not None and known[0] == mark else None


def _note(facts: Facts, key: str, mark: str, fact: str) -> str:
    facts.known[key] = (mark, fact)
    if "\n" not in key:  # a file may be called so; it is then read at every start
        facts.fresh[key] = (mark, fact)
    if time.monotonic() - facts.state["saved"] > SAVE_SECONDS:
        _save(facts)
    return fact


def _lock(facts: Facts) -> None:
    """Become the one who finds out; what others have found meanwhile is read."""
    if facts.file is None or facts.state["locked"]:
        return
    facts.state["locked"] = True
    lock = lock_of(facts.file)
    with contextlib.suppress(OSError):  # a folder of somebody else's
        lock.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{facts.file}: another process has been filling this table for hours"
        facts.held.enter_context(only_one(lock, patience=PATIENCE, busy=busy))
    _read(facts)


def _read(facts: Facts) -> None:
    """Take over what the file holds; a damaged line, or a file of another kind, counts for nothing."""
    if facts.file is None or not facts.file.is_file():
        return
    with open(facts.file, encoding="utf-8", errors="surrogateescape") as lines:
        if next(lines, "") == HEADER:
            facts.known.update(_parse(lines))


def _parse(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for line in lines:
        mark, _, rest = line.rstrip("\n").partition("\t")
        fact, tab, key = rest.partition("\t")
        if tab:
            yield key, (mark, fact)


def _save(facts: Facts) -> None:
    """Write the table with what is new; where that is not possible, the next start finds it out again."""
    facts.state["saved"] = time.monotonic()
    if facts.file is None or not facts.fresh:
        return
    rows = [f"{mark}\t{fact}\t{key}\n" for key, (mark, fact) in sorted(facts.known.items()) if "\n" not in key]
    content = "".join([HEADER, *rows]).encode("utf-8", "surrogateescape")
    try:
        write_atomically(facts.file, lambda temporary: temporary.write_bytes(content))
        facts.fresh.clear()
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next start reads all files again", facts.file, error.strerror)
