"""Reference and hypothesis word under word, with colour where a terminal shows it."""

import os
import shutil
import unicodedata
from typing import TextIO

from rapidfuzz.distance import Levenshtein

from evaluation.text_errors import split_words

# SGR codes: yellow, red, blue; they differ in brightness too, and a letter marks each for whoever sees no colour.
COLOURS = {"replace": "\033[33m", "delete": "\033[31m", "insert": "\033[34m"}
RESET = "\033[0m"
MARKS = {"equal": "", "replace": "S", "delete": "D", "insert": "I"}
GAP = "*"
LABEL_WIDTH = 6
DEFAULT_WIDTH = 120


def align_words(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """(kind, word of the reference, word of the hypothesis) in order; kind: equal, replace, delete or insert.

    The missing side of a deletion or an insertion is "". The alignment is the one whose edits are counted.
    """
    first, second = split_words(reference), split_words(hypothesis)
    aligned = []
    for kind, start, end, begin, stop in Levenshtein.opcodes(first, second):
        length = max(end - start, stop - begin)
        left, right = first[start:end] or [""] * length, second[begin:stop] or [""] * length
        aligned += [(kind, one, other) for one, other in zip(left, right)]
    return aligned


def wants_colour(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that may be coloured (no-color.org: NO_COLOR set and not empty says no)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def format_alignment(aligned: list[tuple[str, str, str]], *, colour: bool, width: int = DEFAULT_WIDTH) -> str:
    """Lines ``ref``, ``hyp`` and, under the words that differ, S, D or I; wrapped at ``width`` columns."""
    blocks, room = [[]], width - LABEL_WIDTH
    for entry in aligned:
        needed = _column_width(entry) + 1
        if needed > room and blocks[-1]:
            blocks.append([])
            room = width - LABEL_WIDTH
        blocks[-1].append(entry)
        room -= needed
    return "\n".join(_format_block(block, colour) for block in blocks)


def _format_block(block: list[tuple[str, str, str]], colour: bool) -> str:
    rows = {"ref": [], "hyp": [], "": []}
    for kind, reference, hypothesis in block:
        width = _column_width((kind, reference, hypothesis))
        for label, word in (("ref", reference or GAP * width), ("hyp", hypothesis or GAP * width), ("", MARKS[kind])):
            padded = word + " " * (width - display_width(word))
            painted = colour and label and kind != "equal"
            rows[label].append(f"{COLOURS[kind]}{padded}{RESET}" if painted else padded)
    lines = [f"{label:<{LABEL_WIDTH}}{' '.join(words)}".rstrip() for label, words in rows.items()]
    return "\n".join(line for line in lines if line)


def _column_width(entry: tuple[str, str, str]) -> int:
    return max(display_width(entry[1]), display_width(entry[2]))


def display_width(text: str) -> int:
    """Columns that ``text`` takes on a terminal: wide characters take two, combining marks none."""
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
