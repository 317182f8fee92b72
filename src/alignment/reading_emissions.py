"""A recogniser's reading as posteriors of letters, so that a known text is laid onto it like onto a CTC head's.

A letter of the reading likes its own letter best, then one that sounds alike, by the letters' names in Unicode: К is
called KA, so that it goes with k. So scripts and spellings may differ, and the places are found all the same.

Axes: P positions, C columns of alignment.trellis. A letter read has two positions: its own, and a gap behind it, in
which a letter may stand that was not read.
"""

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from alignment.trellis import ANY_COLUMN, ANY_NATS, BEST_COLUMN, BLANK_COLUMN, FIRST_LETTER, PAUSE_COLUMN
from core.records import ReadWindow
from core.text_normalisation import normalise_text

# Nats: of the same letter, one that sounds alike, of the same kind (vowel, consonant), any other; of a letter read that
# is not in the text; of a letter that stands in a gap.
SAME, ALIKE, SAME_KIND, OTHER, NOT_IN_TEXT, IN_GAP, AFTER_DIGIT = -0.05, -1.5, -3.0, -5.0, -3.0, -4.0, -1.0
ANY_BY_DIGIT = -0.4  # of a number of the text where a digit was read
GAPS_OF_DIGIT = 7  # positions: "7" is "seven"
NO_SOUND = {"SIGN", "STOP", "MARK", "APOSTROPHE", "VIRAMA", "SALTILLO", "DIGIT", "GLOTTAL"}
BESIDE_NAME = {"SHORT", "HARD", "SOFT", "FINAL", "OPEN", "DOTLESS", "REVERSED", "TURNED", "BARRED", "LONG", "SMALL"}
GROUPS = ("aeiouy", "bpvfw", "dt", "ckgqxhj", "sz", "m", "n", "lr")
VOWELS = set(GROUPS[0])


class Reading(NamedTuple):
    """Posteriors of a reading."""

    emissions: np.ndarray  # (P, C) float16
    clock: np.ndarray  # (P, 2) s at which each position begins and ends
    read_words: np.ndarray  # (P,) number of the word read there, from 0 on; a space counts to the word before it


@functools.cache
def sound_of(letter: str) -> str:
    """A letter a to z that ``letter`` roughly stands for, by its name in Unicode, or nothing."""
    plain = unicodedata.normalize("NFD", letter)[0].casefold()[:1]
    if "a" <= plain <= "z":
        return plain
    words = unicodedata.name(plain or " ", "").split()
    if not words or NO_SOUND & set(words):
        return ""
    places = [words.index(word) for word in ("LETTER", "SYLLABLE") if word in words]
    rest = [word for word in words[places[0] + 1 :] if word not in BESIDE_NAME] if places else []
    first = rest[0][0].lower() if rest else ""
    return first if "a" <= first <= "z" else ""


@functools.cache
def group_of(letter: str) -> str:
    return next((group for group in GROUPS if sound_of(letter) and sound_of(letter) in group), "")


def compare_letters(read: str, written: str) -> float:
    """Nats of a letter of the text where ``read`` was read."""
    if read == written:
        return SAME
    groups = group_of(read), group_of(written)
    if not all(groups):
        return OTHER
    if sound_of(read) == sound_of(written) or groups[0] == groups[1] and groups[0] != GROUPS[0]:
        return ALIKE
    return SAME_KIND if (groups[0] == GROUPS[0]) == (groups[1] == GROUPS[0]) else OTHER


def reading_letters(windows: Iterable[ReadWindow]) -> list[tuple[str, float, float]]:
    """(letter, start, end) of what is read, normalised; a space between two words takes the time between them."""
    found: list[tuple[str, float, float]] = []
    for window in windows:
        for first, last in _word_bounds(window["text"]):
            letters = normalise_text(window["text"][first:last]).replace(" ", "")
            if not letters:
                continue
            begin, end = window["starts"][first], window["ends"][last - 1]
            if found:
                found.append((" ", found[-1][2], begin))
            edges = _letter_edges(window, first, last, len(letters))
            found += [(letter, *bounds) for letter, bounds in zip(letters, zip(edges[:-1], [*edges[1:-1], end]))]
    return found


def _word_bounds(text: str) -> list[tuple[int, int]]:
    bounds, start = [], None
    for place, letter in enumerate([*text, " "]):
        if letter.isspace():
            if start is not None:
                bounds.append((start, place))
            start = None
        elif start is None:
            start = place
    return bounds


def _letter_edges(window: ReadWindow, first: int, last: int, n_letters: int) -> list[float]:
    """(n_letters + 1) seconds: those of the letters as they were written, stretched where normalising changed them."""
    edges = [*window["starts"][first:last], window["ends"][last - 1]]
    places = np.linspace(0, len(edges) - 1, n_letters + 1)
    return np.interp(places, np.arange(len(edges)), edges).tolist()


def emit_reading(letters: Sequence[tuple[str, float, float]], alphabet: str, path=None) -> Reading:
    """The posteriors of (letter, start, end) over the blank and the letters of ``alphabet``.

    path: a file that holds them where they are many.
    """
    counts = [_positions_of(letter) for letter, _, _ in letters]
    shape = (sum(counts), FIRST_LETTER + len(alphabet))
    emissions = (
        np.zeros(shape, np.float16) if path is None or not shape[0] else np.memmap(path, np.float16, "w+", shape=shape)
    )
    clock, read_words, word, position = np.zeros((shape[0], 2)), np.zeros(shape[0], np.int64), 0, 0
    rows = {letter: _rows_of(letter, alphabet) for letter in {letter for letter, _, _ in letters}}
    for (letter, start, end), count in zip(letters, counts):
        emissions[position : position + count] = rows[letter]
        read_words[position : position + count] = word
        word += letter == " "
        edges = np.linspace(start, end, max(2, count))
        clock[position : position + count, 0] = edges[:-1].tolist() + [end] if count > 1 else start
        clock[position : position + count, 1] = [*edges[1:], end] if count > 1 else end
        position += count
    return Reading(emissions, clock, read_words)


def _positions_of(letter: str) -> int:
    return GAPS_OF_DIGIT if letter.isdigit() else 1 if letter == " " else 2


def _rows_of(letter: str, alphabet: str) -> np.ndarray:
    """(positions, C) of one letter read."""
    rows = np.zeros((_positions_of(letter), FIRST_LETTER + len(alphabet)), np.float16)
    rows[:, [BLANK_COLUMN, PAUSE_COLUMN, BEST_COLUMN]] = SAME
    rows[:, ANY_COLUMN] = SAME + ANY_NATS
    if letter.isdigit():
        rows[:, ANY_COLUMN] = ANY_BY_DIGIT
        rows[:, FIRST_LETTER:] = [SAME if letter == written else AFTER_DIGIT for written in alphabet]
        return rows
    rows[:, FIRST_LETTER:] = IN_GAP
    if letter == " ":
        rows[0, BLANK_COLUMN] = -1.0
        return rows
    rows[0, [BLANK_COLUMN, PAUSE_COLUMN]] = NOT_IN_TEXT
    rows[0, FIRST_LETTER:] = [compare_letters(letter, written) for written in alphabet]
    return rows
