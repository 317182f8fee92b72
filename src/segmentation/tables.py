"""What is known about recordings: the tables of texts and speakers, and which text lies in which segment."""

import bisect
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from core.errors import UserError
from core.tables import name_cells, parse_seconds, read_rows

Row = TypeVar("Row")  # what a table says of a recording
log = logging.getLogger("oral_units")

INSIDE_SHARE = 0.9  # a text belongs to a segment that holds this share of its speech
CUT_THROUGH, IN_SILENCE = "cut through by a pause", "in silence"
OUTSIDE = "outside the recording"
BESIDE_A_PART = "in a segment with a part of another text"
TABLE_NAMES = ("transcripts", "speakers")
TABLE_SUFFIXES = (".tsv", ".csv", ".xlsx", ".xlsm")
TIMED_COLUMNS = ("source", "start", "end", "text")


def find_table(path: Path) -> Path | None:
    """The table of this name, whatever its suffix (``transcripts.tsv`` may be ``transcripts.xlsx``), or None.

    Raises UserError where there are several: nobody knows which one is meant.
    """
    found = [file for suffix in TABLE_SUFFIXES if (file := path.with_suffix(suffix)).is_file()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise UserError(f"{path.parent}: expected one table of {path.stem}, found {names}; remove the older one")
    return found[0] if found else None


def read_transcripts(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """The table of texts -> source: [(start, end, text)] in seconds, in order of time.

    Columns by name: ``source`` and ``text``, with ``start`` and ``end`` or without; empty times mean the whole file.
    Without a row of names: source, start, end, text, or source and text where there are two columns. Rows that repeat
    another count once, and their number is said.
    """
    texts: dict[str, dict[tuple[float, float, str], None]] = {}
    rows = read_filled_rows(path)
    names = [cell.casefold() for cell in rows[0][1]]
    untimed = {"source", "text"} <= set(names) or len(names) == 2
    columns, optional = (("source", "text"), ("start", "end")) if untimed else (TIMED_COLUMNS, ())
    n_repeated = 0
    for number, row in name_cells(path, rows, columns, optional=optional):
        place = f"{path}, line {number}"
        found, said = texts.setdefault(name_source(row["source"], place), {}), " ".join(row["text"].split())
        key = (*_parse_times(place, row["start"], row["end"]), said)
        n_repeated += key in found
        found[key] = None
    if n_repeated:
        log.warning("%s: %d rows repeat another; each text counts once", path, n_repeated)
    return {source: sorted(found) for source, found in texts.items()}


def read_filled_rows(path: Path) -> list[tuple[int, list[str]]]:
    """``read_rows``; UserError for a table without any row, such as a copy that was cut off."""
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path}: expected a table, found an empty file; copy it again, or delete it")
    return rows


def name_source(cell: str, place: str) -> str:
    """The recording that a cell names, with the slashes of a survey: Windows writes others."""
    source = cell.replace("\\", "/").removeprefix("./")
    if not source:
        raise UserError(f"{place}: expected the name of a recording, found an empty cell; fill it in")
    return source


def match_names(table: Mapping[str, Row], sources: Collection[str]) -> dict[str, Row]:
    """``table`` by the names of recordings: a name without its folder is that of the one recording of this name.

    What names no recording, or several, keeps its name.
    """
    folders = _in_folders(sources)
    found = {}
    for name, row in table.items():
        there = folders.get(name, ())
        is_short = name not in sources and len(there) == 1 and there[0] not in table
        found[there[0] if is_short else name] = row
    return found


def say_missing_folders(names: Iterable[str], sources: Iterable[str]) -> str:
    """What to do about ``names`` that recordings in several folders have; nothing where there are none."""
    folders = _in_folders(sources)
    several = [name for name in names if len(folders.get(name, ())) > 1]
    if not several:
        return ""
    return f"; in several folders there is {several[0]}: write the folder too, as in {min(folders[several[0]])}"


def _in_folders(sources: Iterable[str]) -> dict[str, list[str]]:
    """Name without folders -> the recordings of this name."""
    folders: dict[str, list[str]] = {}
    for source in sources:
        folders.setdefault(source.rpartition("/")[2], []).append(source)
    return folders


def _parse_times(place: str, start: str, end: str) -> tuple[float, float]:
    """Seconds or h:mm:ss, with a point or a comma."""
    begin = parse_seconds(start, place) if start else 0.0
    until = parse_seconds(end, place) if end else float("inf")
    if not 0 <= begin < until:
        raise UserError(f"{place}: expected 0 <= start < end, found {begin} and {until}; repair the line")
    return begin, until


def read_speakers(path: Path) -> dict[str, str]:
    """The table of speakers (columns ``source`` and ``speaker``) -> source: speaker; empty cells name nobody.

    Raises UserError where a recording has two speakers: nobody knows which one is meant.
    """
    speakers: dict[str, str] = {}
    for number, row in name_cells(path, read_filled_rows(path), ("source", "speaker")):
        place, speaker = f"{path}, line {number}", row["speaker"]
        source = name_source(row["source"], place)
        if speaker and speakers.setdefault(source, speaker) != speaker:
            raise UserError(
                f"{place}: expected one speaker of {source}, found {speakers[source]} and {speaker}; keep one line, or "
                "annotate who speaks when (docs/usage.md); where several folders hold that name, write the folder too"
            )
    return speakers


def texts_of_segments(
    segments: list[tuple[float, float]], texts: list[tuple[float, float, str]], seconds: float = float("inf")
) -> tuple[list[str | None], Counter[str]]:
    """The text of each segment: the texts that lie inside it, or None where there is none or one is cut through.

    Beside them the number of ``texts`` that no segment holds, by reason.

    What counts of a text's time is the part in any segment (the rest is silence). A text with 90 % of it in one segment
    lies there; a segment that holds only a part of a text has no text, since a wrong one is worse. ``seconds``: length
    of the recording; a text with over 10 % past it cannot be said there.
    """
    found: list[list[str]] = [[] for _ in segments]
    ends, cut, lost = [end for _, end in segments], set(), Counter()
    for begin, until, text in texts:
        overlaps = {}
        for index in range(bisect.bisect_right(ends, begin), len(segments)):
            if segments[index][0] >= until:
                break
            overlaps[index] = min(segments[index][1], until) - max(segments[index][0], begin)
        shares = {index: overlap / sum(overlaps.values()) for index, overlap in overlaps.items()}
        whole = [index for index, share in shares.items() if share >= INSIDE_SHARE]
        cut |= {index for index, share in shares.items() if 1 - INSIDE_SHARE < share < INSIDE_SHARE}
        if is_past_end(begin, until, seconds):
            cut |= overlaps.keys()
            lost[OUTSIDE] += 1
            continue
        for index in whole:
            found[index].append(text)
        if not whole:
            lost[CUT_THROUGH if overlaps else IN_SILENCE] += 1
    if beside := sum(len(words) for index, words in enumerate(found) if index in cut):
        lost[BESIDE_A_PART] = beside
    return [" ".join(words) if words and index not in cut else None for index, words in enumerate(found)], lost


def is_past_end(start: float, end: float, seconds: float) -> bool:
    """Whether over 10 % of a stretch lie past the end of a recording; an open end (inf) is its end."""
    return start >= seconds or (end != float("inf") and end - seconds > (1 - INSIDE_SHARE) * (end - start))
