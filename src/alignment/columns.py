"""Posteriors of a CTC head in the columns of alignment.trellis, and letters as such columns.

Axes: P positions, V characters of the head with the blank, C = V + 3 columns.
"""

import numpy as np

from alignment.known_text import ANY_SOUND
from alignment.trellis import ANY_COLUMN, ANY_NATS, FIRST_LETTER

COLUMNS_VERSION = 2  # of what ``columns_of`` gives: what was heard in another way is heard again


def columns_of(log_probs: np.ndarray, characters: str) -> np.ndarray:
    """(P, V) log-probabilities -> (P, C) float16: blank, pause, best, any sound, and each character."""
    blank = log_probs[:, :1]
    pause = np.maximum(blank, log_probs[:, [1 + characters.index(" ")]]) if " " in characters else blank
    best = log_probs.max(1, keepdims=True)
    return (
        np.concatenate([blank, pause, best, best + ANY_NATS, log_probs[:, 1:]], axis=1)
        .clip(-60.0, 0.0)
        .astype(np.float16)
    )


def letter_columns(letters: str, characters: str) -> list[int]:
    return [ANY_COLUMN if letter == ANY_SOUND else FIRST_LETTER + characters.index(letter) for letter in letters]
