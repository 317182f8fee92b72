"""What is known about recordings: the tables of texts and speakers, and which text lies in which segment."""

import bisect
from collections import Counter
from pathlib import Path

from core.errors import UserError
from core.tables import name_cells, read_rows, read_table

INSIDE_SHARE = 0.9  # a text belongs to a segment that holds this share of its speech
CUT_THROUGH, IN_SILENCE = "cut through by a pause", "in silence"
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
    Without a row of names: source, start, end, text, or source and text where there are two columns.
    """
    texts: dict[str, list[tuple[float, float, str]]] = {}
    rows = read_rows(path)
    names = [cell.casefold() for cell in rows[0][1]] if rows else []
    untimed = {"source", "text"} <= set(names) or len(names) == 2
    columns, optional = (("source", "text"), ("start", "end")) if untimed else (TIMED_COLUMNS, ())
    for number, row in name_cells(path, rows, columns, optional=optional):
        begin, until = _parse_times(f"{path}, line {number}", row["start"], row["end"])
        texts.setdefault(row["source"], []).append((begin, until, row["text"]))
    return {source: sorted(found) for source, found in texts.items()}


def _parse_times(place: str, start: str, end: str) -> tuple[float, float]:
    """Seconds, with a point or a comma."""
    try:
        begin, until = float(start.replace(",", ".") or 0), float(end.replace(",", ".") or "inf")
    except ValueError as error:
        raise UserError(f"{place}: expected seconds, found '{start}' and '{end}'; repair the line") from error
    if not 0 <= begin < until:
        raise UserError(f"{place}: expected 0 <= start < end, found {begin} and {until}; repair the line")
    return begin, until


def read_speakers(path: Path) -> dict[str, str]:
    """The table of speakers (columns ``source`` and ``speaker``) -> source: speaker."""
    rows = [row for _, row in read_table(path, ("source", "speaker"))]
    return {row["source"]: row["speaker"] for row in rows}


def texts_of_segments(
    segments: list[tuple[float, float]], texts: list[tuple[float, float, str]]
) -> tuple[list[str | None], Counter[str]]:
    """The text of each segment: the texts that lie inside it, or None where there is none or one is cut through.

    Beside them the number of ``texts`` that no segment holds, by reason.

    What counts of a text's time is the part in any segment (the rest is silence). A text with 90 % of it in one segment
    lies there; a segment that holds only a part of a text has no text, since a wrong one is worse.
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
        for index in whole:
            found[index].append(text)
        if not whole:
            lost[CUT_THROUGH if overlaps else IN_SILENCE] += 1
    if beside := sum(len(words) for index, words in enumerate(found) if index in cut):
        lost[BESIDE_A_PART] = beside
    return [" ".join(words) if words and index not in cut else None for index, words in enumerate(found)], lost
