"""Text compared with text: normalisation, and substitutions, deletions and insertions of characters and words."""

import unicodedata
from collections.abc import Sequence

import numpy as np

# An apostrophe between letters is a letter in many orthographies (a glottal stop): its variants become one and stay.
APOSTROPHES = "'’ʼʻ‘`´′"


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, single spaces, in any script.

    NFKC, Unicode case folding; letters, marks and digits stay, an apostrophe between letters too; everything else
    (punctuation, symbols, hyphens) becomes a space; spaces are single, none at either end.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = [_kept_character(text, place) for place in range(len(text))]
    return " ".join("".join(kept).split())


def _kept_character(text: str, place: int) -> str:
    character = text[place]
    if character in APOSTROPHES:
        inside = 0 < place < len(text) - 1 and _is_letter(text[place - 1]) and _is_letter(text[place + 1])
        return "'" if inside else " "
    return character if unicodedata.category(character)[0] in "LMN" else " "


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" and character not in APOSTROPHES


def count_edits(reference: Sequence, hypothesis: Sequence) -> dict[str, int]:
    """Fewest edits that turn ``reference`` into ``hypothesis`` (Levenshtein distance), by kind.

    Sequences of anything comparable: a string counts characters, a list of words words. Returns {"substitutions",
    "deletions", "insertions", "reference": its length}. Where several alignments are equally short, the one
    that substitutes latest in the text is counted; the sum is the same.
    """
    first, second = _as_integers(reference, hypothesis)
    distances = _distances(first, second)
    row, column = len(first), len(second)
    counts = {"substitutions": 0, "deletions": 0, "insertions": 0, "reference": row}
    while row or column:
        here = distances[row, column]
        differs = bool(row and column) and int(first[row - 1] != second[column - 1])
        if row and column and distances[row - 1, column - 1] + differs == here:
            counts["substitutions"] += differs
            row, column = row - 1, column - 1
        elif row and distances[row - 1, column] + 1 == here:
            counts["deletions"] += 1
            row -= 1
        else:
            counts["insertions"] += 1
            column -= 1
    return counts


def total_edits(counts: dict[str, int]) -> int:
    return counts["substitutions"] + counts["deletions"] + counts["insertions"]


def _as_integers(reference: Sequence, hypothesis: Sequence) -> tuple[np.ndarray, np.ndarray]:
    numbers: dict = {}
    first, second = ([numbers.setdefault(item, len(numbers)) for item in items] for items in (reference, hypothesis))
    return np.array(first, np.int64), np.array(second, np.int64)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N + 1, M + 1) edit distances of all prefixes, one row at a time."""
    columns = np.arange(len(second) + 1, dtype=np.int32)
    table = np.empty((len(first) + 1, len(second) + 1), np.int32)
    table[0] = columns
    for row, item in enumerate(first, 1):
        table[row, 0] = row
        table[row, 1:] = np.minimum(table[row - 1, 1:] + 1, table[row - 1, :-1] + (second != item))
        # Insertions run along the row: d[j] = min over i <= j of d[i] + (j - i).
        table[row] = np.minimum.accumulate(table[row] - columns) + columns
    return table
