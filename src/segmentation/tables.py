"""What is known about recordings: ``transcripts.tsv`` and ``speakers.tsv``, and which text lies in which segment."""

import bisect
import unicodedata
from pathlib import Path

from core.errors import UserError

INSIDE_SHARE = 0.9  # a text belongs to a segment that holds this share of its speech


def read_table(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Rows of a tab-separated file without quotes, a cell a column; a first line of column names is optional."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t", len(columns) - 1)]
        if not line.strip() or (number == 1 and [cell.lower() for cell in cells] == list(columns)):
            continue
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {number}: expected {len(columns)} columns parted by tabs ({', '.join(columns)}), "
                f"found {len(cells)}; repair the line"
            )
        rows.append(tuple(unicodedata.normalize("NFC", cell) for cell in cells))
    return rows


def read_transcripts(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """``transcripts.tsv`` -> source: [(start, end, text)] in seconds, in order of time; empty times: the whole file."""
    texts: dict[str, list[tuple[float, float, str]]] = {}
    for source, start, end, text in read_table(path, ("source", "start", "end", "text")):
        begin, until = _parse_times(path, source, start, end)
        texts.setdefault(source, []).append((begin, until, text))
    return {source: sorted(rows) for source, rows in texts.items()}


def _parse_times(path: Path, source: str, start: str, end: str) -> tuple[float, float]:
    try:
        begin, until = float(start or 0), float(end or "inf")
    except ValueError as error:
        raise UserError(f"{path}: expected seconds, found '{start}', '{end}' for {source}; repair the line") from error
    if not 0 <= begin < until:
        raise UserError(f"{path}: expected 0 <= start < end, found {begin} and {until} for {source}; repair the line")
    return begin, until


def read_speakers(path: Path) -> dict[str, str]:
    """``speakers.tsv`` -> source: speaker."""
    return dict(read_table(path, ("source", "speaker")))


def texts_of_segments(
    segments: list[tuple[float, float]], texts: list[tuple[float, float, str]]
) -> tuple[list[str | None], int]:
    """The text of each segment: the texts that lie inside it, or None where there is none or one is cut through.

    Beside them the number of ``texts`` that no segment holds.

    What counts of a text's time is the part in any segment (the rest is silence). A text with 90 % of it in one segment
    lies there; a segment that holds only a part of a text has no text, since a wrong one is worse.
    """
    found: list[list[str]] = [[] for _ in segments]
    ends, cut = [end for _, end in segments], set()
    for begin, until, text in texts:
        overlaps = {}
        for index in range(bisect.bisect_right(ends, begin), len(segments)):
            if segments[index][0] >= until:
                break
            overlaps[index] = min(segments[index][1], until) - max(segments[index][0], begin)
        for index, overlap in overlaps.items():
            share = overlap / sum(overlaps.values())
            if share >= INSIDE_SHARE:
                found[index].append(text)
            elif share > 1 - INSIDE_SHARE:
                cut.add(index)
    held = [words if index not in cut else [] for index, words in enumerate(found)]
    return [" ".join(words) or None for words in held], len(texts) - sum(map(len, held))
