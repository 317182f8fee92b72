"""Recordings of any length → lines of text with their times, kept in a journal so that a kill loses nothing.

The journal is JSON lines: first what the texts depend on, then every line as soon as it is transcribed, with its
recording's size and time of change.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.records import HeardPiece, TimedWord, TranscriptLine
from segmentation.long_recordings import plan_pieces, read_pieces

MAX_GROUP_SECONDS = 600  # of audio transcribed between two entries of the journal, and held in memory

# (S,) float32 waveforms at 16 kHz -> what was heard in each.
Transcriber = Callable[[Sequence[np.ndarray]], list[str] | list[HeardPiece]]


class RecordingPlan(NamedTuple):
    """Where a recording is cut."""

    path: Path
    bounds: list[tuple[int, int]]  # samples at 16 kHz
    notes: list[str]  # what the user should know of the recording


def plan_recordings(sources: dict[str, Path], **flags: float) -> tuple[dict[str, RecordingPlan], dict[str, str]]:
    """({source: where it is cut}, {source: why it cannot be read}); flags: of ``plan_pieces``."""
    plans, failed = {}, {}
    for source, path in tqdm(sources.items(), desc="finding speech", unit="recording", disable=None):
        try:
            pieces = plan_pieces(path, **flags)
            plans[source] = RecordingPlan(path, pieces.bounds, pieces.notes)
        except (UserError, OSError) as error:
            failed[source] = str(error).removeprefix(f"{path}: ")
    return plans, failed


def transcribe_recordings(
    transcribe: Transcriber,
    plans: dict[str, RecordingPlan],
    journal: Path | None,
    identity: dict[str, object],
    *,
    group_size: int,
    stopped: Sequence[int] = (),
) -> tuple[list[TranscriptLine], dict[str, str]]:
    """(lines of all recordings in order, {source: why it was given up}).

    journal: where lines are kept; pieces that it holds for the same ``identity`` and the same file are not transcribed
    again. group_size: pieces handed to ``transcribe`` at once. Ends early, with the lines so far, once ``stopped`` is
    not empty.
    """
    known = read_journal(journal, identity) if journal else {}
    write = functools.partial(append_journal, journal, identity) if journal else None
    lines, failed = [], {}
    total = round(_seconds(plan.bounds for plan in plans.values()))
    with tqdm(total=total, desc="transcribing", unit="s", disable=None) as bar:
        for source, plan in plans.items():
            stamp = file_stamp(source, plan.path)
            found = {piece: known[*stamp, *piece] for piece in plan.bounds if (*stamp, *piece) in known}
            bar.update(_seconds([found]))
            keep = functools.partial(_keep_texts, found, bar, write, stamp)
            failure = _transcribe_missing(transcribe, plan, found, keep, group_size=group_size, stopped=stopped)
            if failure:
                failed[source] = failure
            else:
                lines += [describe_line(source, piece, found[piece]) for piece in sorted(found)]
    return lines, failed


def _transcribe_missing(
    transcribe: Transcriber,
    plan: RecordingPlan,
    found: dict[tuple[int, int], HeardPiece],
    keep: Callable[[dict[tuple[int, int], HeardPiece]], None],
    *,
    group_size: int,
    stopped: Sequence[int],
) -> str | None:
    """Transcribe the pieces that are not in ``found``, group by group; returns why the file cannot be read, if so."""
    groups = read_groups(plan.path, [piece for piece in plan.bounds if piece not in found], group_size)
    while not stopped:
        try:
            group, waveforms = next(groups)
        except StopIteration:
            return None
        except (UserError, OSError) as error:
            return str(error).removeprefix(f"{plan.path}: ")
        keep({piece: as_piece(heard) for piece, heard in zip(group, transcribe(waveforms))})


def as_piece(heard: str | HeardPiece) -> HeardPiece:
    """A text, or what else was heard with it, on one line with single spaces."""
    piece: HeardPiece = {"text": heard} if isinstance(heard, str) else heard
    return piece | {"text": " ".join(piece["text"].split())}


def _keep_texts(
    found: dict[tuple[int, int], HeardPiece],
    bar: tqdm,
    write: Callable | None,
    stamp: tuple[str, int, int],
    heard: dict[tuple[int, int], HeardPiece],
) -> None:
    if write:
        write([[*stamp, *piece, own] for piece, own in heard.items()])
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
            raise UserError(f"{path}: decoded differently the second time; copy it again")
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


def describe_line(source: str, bounds: tuple[int, int], heard: HeardPiece) -> TranscriptLine:
    """A piece as a line of its recording: times are the recording's, and within the piece."""
    start, end = (round(sample / SAMPLE_RATE, 3) for sample in bounds)
    line: TranscriptLine = {"source": source, "start": start, "end": end} | heard
    if "words" in heard:
        line["words"] = [word | _shifted(word, start, end) for word in heard["words"]]
    return line


def _shifted(word: TimedWord, start: float, end: float) -> dict[str, float]:
    return {bound: round(min(start + word[bound], end), 3) for bound in ("start", "end")}


def file_stamp(source: str, path: Path) -> tuple[str, int, int]:
    status = os.stat(path)
    return source, status.st_size, status.st_mtime_ns


def read_journal(path: Path, identity: dict[str, object]) -> dict[tuple, HeardPiece]:
    """{(source, size, mtime_ns, start, end): what was heard} of a journal of the same ``identity``, else nothing.

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


def append_journal(path: Path, identity: dict[str, object], rows: list[list]) -> None:
    """Add rows (source, size, mtime_ns, start, end, heard) in one write, after the ``identity`` in a new journal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = rows if path.exists() else [_as_json(identity), *rows]
    with open(path, "ab", buffering=0) as journal:
        journal.write("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())


def _as_json(identity: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(identity, default=str))
