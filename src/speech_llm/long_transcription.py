"""Recordings of any length → lines of text with their times, kept in a journal so that a kill loses nothing.

A *line* is {"source", "start", "end" (seconds), "text"}. The journal is JSON lines: first what the texts depend on,
then every line as soon as it is heard, with its recording's size and time of change.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.long_recordings import plan_pieces, read_pieces

MAX_GROUP_SECONDS = 600  # of audio heard between two entries of the journal, and held in memory

Listener = Callable[[Sequence[np.ndarray]], list[str]]


def plan_recordings(sources: dict[str, Path], **flags: float) -> tuple[dict[str, dict], dict[str, str]]:
    """({source: plan_pieces and its path}, {source: why it cannot be read})."""
    plans, failed = {}, {}
    for source, path in tqdm(sources.items(), desc="finding speech", unit="recording", disable=None):
        try:
            plans[source] = plan_pieces(path, **flags) | {"path": path}
        except (UserError, OSError) as error:
            failed[source] = str(error).removeprefix(f"{path}: ")
    return plans, failed


def transcribe_recordings(
    listen: Listener,
    plans: dict[str, dict],
    journal: Path | None,
    identity: dict,
    *,
    group_size: int,
    stopped: Sequence[int] = (),
) -> tuple[list[dict], dict[str, str]]:
    """(lines of all recordings in order, {source: why it was given up}).

    listen: (S,) float32 waveforms at 16 kHz -> their texts. journal: where lines are kept; what it already holds for
    the same ``identity`` and the same file is not heard again. group_size: pieces handed to ``listen`` at once. Ends
    early, with the lines so far, once ``stopped`` is not empty.
    """
    known = read_journal(journal, identity) if journal else {}
    write = functools.partial(append_journal, journal, identity) if journal else None
    lines, failed = [], {}
    total = round(_seconds(plan["bounds"] for plan in plans.values()))
    with tqdm(total=total, desc="transcribing", unit="s", disable=None) as bar:
        for source, plan in plans.items():
            stamp = file_stamp(source, plan["path"])
            found = {piece: known[*stamp, *piece] for piece in plan["bounds"] if (*stamp, *piece) in known}
            bar.update(_seconds([found]))
            keep = functools.partial(_keep_heard, found, bar, write, stamp)
            failure = _hear_missing(listen, plan, found, keep, group_size=group_size, stopped=stopped)
            if failure:
                failed[source] = failure
            else:
                lines += [describe_line(source, piece, text) for piece, text in sorted(found.items())]
    return lines, failed


def _hear_missing(
    listen: Listener,
    plan: dict,
    found: dict[tuple[int, int], str],
    keep: Callable[[dict], None],
    *,
    group_size: int,
    stopped: Sequence[int],
) -> str | None:
    """Hears the pieces of a plan that are not in ``found``, group by group; returns why it cannot be read, if so."""
    groups = read_groups(plan["path"], [piece for piece in plan["bounds"] if piece not in found], group_size)
    while not stopped:
        try:
            group, waveforms = next(groups)
        except StopIteration:
            return None
        except (UserError, OSError) as error:
            return str(error).removeprefix(f"{plan['path']}: ")
        keep({piece: " ".join(text.split()) for piece, text in zip(group, listen(waveforms))})
    return None


def _keep_heard(found: dict, bar: tqdm, write: Callable | None, stamp: tuple[str, int, int], heard: dict) -> None:
    if write:
        write([[*stamp, *piece, text] for piece, text in heard.items()])
    found.update(heard)
    bar.update(_seconds([heard]))


def _seconds(pieces_of_all: Iterable[Iterable[tuple[int, int]]]) -> float:
    return sum(end - start for pieces in pieces_of_all for start, end in pieces) / SAMPLE_RATE


def read_groups(
    path: Path, bounds: list[tuple[int, int]], group_size: int
) -> Iterator[tuple[list[tuple[int, int]], list[np.ndarray]]]:
    """Groups of pieces with their samples, decoded as they are asked for."""
    waveforms = read_pieces(path, bounds) if bounds else iter(())
    for group in group_pieces(bounds, group_size):
        some = [waveform for _, waveform in zip(group, waveforms)]
        if len(some) < len(group):
            raise UserError(f"{path}: decoded differently the second time; copy it anew")
        yield group, some


def group_pieces(bounds: Iterable[tuple[int, int]], group_size: int) -> Iterator[list[tuple[int, int]]]:
    """Pieces in order, at most ``group_size`` and 10 minutes together (a longer one alone)."""
    group: list[tuple[int, int]] = []
    for start, end in bounds:
        seconds = _seconds([[*group, (start, end)]])
        if group and (len(group) == group_size or seconds > MAX_GROUP_SECONDS):
            yield group
            group = []
        group.append((start, end))
    if group:
        yield group


def describe_line(source: str, bounds: tuple[int, int], text: str) -> dict:
    start, end = (round(sample / SAMPLE_RATE, 3) for sample in bounds)
    return {"source": source, "start": start, "end": end, "text": text}


def file_stamp(source: str, path: Path) -> tuple[str, int, int]:
    status = os.stat(path)
    return source, status.st_size, status.st_mtime_ns


def read_journal(path: Path, identity: dict) -> dict[tuple, str]:
    """{(source, size, mtime_ns, start, end): text} of a journal of the same ``identity``, else nothing.

    A last line that a kill cut short is left out, and the next entry begins on a line of its own.
    """
    if not path.exists():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0]
    rows = [json.loads(line) for line in whole.decode("utf-8").splitlines() if line]
    if not rows or rows[0] != _as_json(identity):
        path.unlink()
        return {}
    with open(path, "r+b") as journal:
        journal.truncate(len(whole) + 1)
    return {tuple(row[:-1]): row[-1] for row in rows[1:]}


def append_journal(path: Path, identity: dict, rows: list[list]) -> None:
    """Add rows (source, size, mtime_ns, start, end, text) in one write, after the ``identity`` in a new journal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = rows if path.exists() else [_as_json(identity), *rows]
    with open(path, "ab", buffering=0) as journal:
        journal.write("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())


def _as_json(identity: dict) -> dict:
    return json.loads(json.dumps(identity, default=str))
