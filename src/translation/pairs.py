"""Pairs of recordings that say the same in two languages: the table that trainings read.

``pairs.tsv`` has a row for each pair: its split, the name of what is said, and of either side the language, the
recording, start and end (s), and the text where it is known. A start and an end that are empty mean a whole recording.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.records import SPLITS
from core.tables import parse_seconds, read_table

SIDE = ("language", "recording", "start", "end", "text")
COLUMNS = ("split", "prompt", *(f"{side}_{name}" for side in ("source", "target") for name in SIDE))
OPTIONAL = ("prompt", *(f"{side}_{name}" for side in ("source", "target") for name in ("start", "end", "text")))


class Span(NamedTuple):
    """A stretch of a recording of one language, and what it says."""

    language: str
    recording: str  # relative to the language's recordings
    start: float  # s
    end: float  # s; inf: to the end
    text: str = ""


class Pair(NamedTuple):
    """Two stretches that say the same."""

    split: str
    prompt: str
    source: Span
    target: Span


def pair_row(pair: Pair) -> tuple[str, ...]:
    """The cells of a pair, in the order of ``COLUMNS``."""
    cells = [pair.split, pair.prompt]
    for span in (pair.source, pair.target):
        end = "" if span.end == float("inf") else f"{span.end:.4f}"
        cells += [span.language, span.recording, f"{span.start:.4f}", end, span.text]
    return tuple(cells)


def read_pairs(path: Path, sources: Sequence[str], target: str) -> list[Pair]:
    """The pairs from one of ``sources`` to ``target`` in the order of the table.

    Raises UserError for a table without such pairs, a split that is none, and a prompt in two splits.
    """
    if not Path(path).is_file():
        raise UserError(
            f"--pairs {path}: expected a table of pairs, found none; run: bash recipes/prompt_pairs/prepare.sh"
        )
    required = tuple(name for name in COLUMNS if name not in OPTIONAL)
    pairs: list[Pair] = []
    for line, row in read_table(path, required, optional=OPTIONAL):
        where = f"{path}, line {line}"
        if row["split"] not in SPLITS:
            raise UserError(f"{where}: expected a split of {', '.join(SPLITS)}, found '{row['split']}'; repair it")
        spans = [_read_span(row, side, where) for side in ("source", "target")]
        pairs.append(Pair(row["split"], row["prompt"] or f"line {line}", *spans))
    _refuse_leaks(path, pairs)
    wanted = [pair for pair in pairs if pair.source.language in sources and pair.target.language == target]
    missing = [language for language in sources if language not in {pair.source.language for pair in wanted}]
    if missing:
        known = ", ".join(sorted({f"{pair.source.language} to {pair.target.language}" for pair in pairs})) or "none"
        raise UserError(f"{path}: expected pairs from {missing[0]} to {target}, found {known}; add some")
    return wanted


def has_length(pair: Pair, shortest: float, longest: float | None) -> bool:
    """Whether the target lasts from ``shortest`` to ``longest`` seconds; None: any longer one too."""
    return shortest <= pair.target.end - pair.target.start <= (longest or float("inf"))


def _read_span(row: dict[str, str], side: str, where: str) -> Span:
    start, end = row[f"{side}_start"], row[f"{side}_end"]
    begin = parse_seconds(start, where) if start else 0.0
    stop = parse_seconds(end, where) if end else float("inf")
    if not 0 <= begin < stop:
        raise UserError(f"{where}: expected a {side} that ends after it starts, found {start} to {end}; repair it")
    return Span(row[f"{side}_language"], row[f"{side}_recording"], begin, stop, row[f"{side}_text"])


def _refuse_leaks(path: Path, pairs: Sequence[Pair]) -> None:
    """A prompt in two splits would be tested on what was learnt."""
    split_of: dict[str, str] = {}
    for pair in pairs:
        if split_of.setdefault(pair.prompt, pair.split) != pair.split:
            raise UserError(f"{path}: expected '{pair.prompt}' in one split, found it in two; split by prompt")


def of_split(pairs: Sequence[Pair], split: str) -> list[Pair]:
    return [pair for pair in pairs if pair.split == split]


def both_sides(pairs: Sequence[Pair]) -> list[Span]:
    """Every span of the pairs, each once."""
    return list(dict.fromkeys(span for pair in pairs for span in (pair.source, pair.target)))
