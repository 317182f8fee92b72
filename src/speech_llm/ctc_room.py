"""Whether texts fit into what a CTC head hears: a path needs a position for each letter, and one between two alike.

An utterance whose text is longer than its positions teaches CTC nothing: its loss is infinite, and counts as 0.
"""

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np

from core.errors import UserError
from core.records import TranscribedItem
from core.text_normalisation import normalise_text
from core.wording import name_some
from speech_llm.transcribed_items import N_NAMED

LARGEST_FACTOR = 6  # frames a position: 8 positions a second, near the rate of an LLM's tokens
SPARE_POSITIONS = 1.5  # times as many as letters, so that blanks and long sounds have room
ROOMY_SHARE = 0.95  # of the texts that shall have this room
MAX_CROWDED_SHARE = 0.05  # of texts without any path; more of them is a mistake, not an accident

log = logging.getLogger("oral_units")


def path_length(text: str) -> int:
    """Positions that the shortest CTC path of a text needs."""
    letters = normalise_text(text)
    return len(letters) + sum(one == other for one, other in zip(letters, letters[1:]))


def choose_factor(needed: Sequence[int], n_frames: Sequence[float]) -> int:
    """The largest number of frames a position, at most LARGEST_FACTOR, at which texts have SPARE_POSITIONS.

    needed: of ``path_length``, n_frames: of the audio of each.
    """
    room = np.asarray(n_frames) / np.maximum(1.0, SPARE_POSITIONS * np.asarray(needed))
    return int(np.clip(math.floor(np.quantile(room, 1 - ROOMY_SHARE)), 1, LARGEST_FACTOR))


def find_crowded(needed: Sequence[int], n_frames: Sequence[float], factor: int) -> list[int]:
    """Places of the texts that have no path."""
    return [place for place, n in enumerate(needed) if n > math.ceil(n_frames[place] / factor)]


def settle_factor(
    factor: int | None,
    items: Sequence[TranscribedItem],
    count_frames: Callable[[TranscribedItem], int],
    *,
    fastest: float = 1.0,
    needed: Sequence[int] | None = None,
) -> int:
    """``factor``, or the one that suits the texts where it is None; texts without a path are counted and named.

    fastest: the highest speed at which audio is heard; needed: ``path_length`` of each text, where it is known. Raises
    UserError where more than MAX_CROWDED_SHARE have no path.
    """
    if needed is None:
        needed = [path_length(item["text"]) for item in items]
    n_frames = [count_frames(item) / fastest for item in items]
    suiting = choose_factor(needed, n_frames)
    chosen = factor or suiting
    crowded = find_crowded(needed, n_frames, chosen)
    if crowded:
        names = name_some([items[place]["id"] for place in crowded], N_NAMED)
        told = f"--factor {chosen}: {len(crowded)} of {len(items)} texts have more letters than their audio positions"
        if len(crowded) > MAX_CROWDED_SHARE * len(items):
            remedy = f"give --factor {suiting}" if suiting < chosen else "these texts cannot be those of this audio"
            raise UserError(f"{told}, so that CTC learns nothing from them ({names}); {remedy}")
        log.warning("%s; CTC learns nothing from them: %s", told, names)
    return chosen
