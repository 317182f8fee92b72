"""What a search has missed: words of the CTC head's own reading, put into a text where they make it score better.

A beam drops a word as soon as too many others are cheaper, though it would pay later: a digit is two tokens, of which
the first, a space, adds nothing to be heard, and whoever leaves it out is ahead. The head's reading still has it. So
the places in which both differ are exchanged, alone and with their neighbours ("4 or 6"). The best exchange is made,
and so on until none helps (a hill is climbed).
"""

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from core.text_normalisation import normalise_text

ROUNDS = 12  # exchanges, one after the other
MOST_SCORED = 8  # exchanges of a round: the best by a guess
SPANS = (1, 2)  # places next to each other that are exchanged together
MARK = ","  # that a reading of letters lacks, and a language model wants before what is counted up
LEAST_GAIN = 0.02  # nats: more than the same text may differ by when it is scored in two batches


class Place(NamedTuple):
    """Words start to end of a text, and what stands there in another."""

    start: int
    end: int
    others: list[str]


def mend_text(
    text: str,
    reading: str,
    score: Callable[[list[str]], list[float]],
    guess: Callable[[str], float],
    nearby: Callable[[str], list[str]] = lambda text: [],
) -> str:
    """``text`` with words of the ``reading``, or as one of those ``nearby``, where its score rises.

    score: texts -> nats. guess: a text's score, about, for what it costs to look which are worth the other.
    nearby: text -> others to try where no exchange helps.
    """
    best, tried = score([text])[0], {text}

    def climb(others: list[str]) -> bool:
        nonlocal best, text
        others = [other for other in dict.fromkeys(others) if other not in tried]
        tried.update(others)
        gained, other = max(zip(score(others), others)) if others else (-math.inf, "")
        if gained < best + LEAST_GAIN:
            return False
        best, text = gained, other
        return True

    for _ in range(ROUNDS):
        others = [other for other in exchanges(text, reading) if other not in tried]
        if not climb(sorted(others, key=guess)[-MOST_SCORED:]) and not climb(nearby(text)):
            break
    return text


def exchanges(text: str, reading: str) -> list[str]:
    """Distinct texts that lie between ``text`` and the ``reading``: some places as the reading has them."""
    words, others = text.split(), reading.split()
    plain = [[normalise_text(word) for word in row] for row in (words, others)]
    blocks = difflib.SequenceMatcher(None, *plain, autojunk=False).get_opcodes()
    places = [Place(start, end, others[first:last]) for tag, start, end, first, last in blocks if tag != "equal"]
    spans = [places[start : start + size] for size in SPANS for start in range(len(places))]
    spans += [[place] for whole in places for place in _single_words(whole)]
    found = {_put(words, span): None for span in spans} | {_put(_mark(words, span), span): None for span in spans}
    return [other for other in found if other != text]


def _mark(words: Sequence[str], span: Sequence[Place]) -> list[str]:
    """The words with a mark before the first place of the span, where it adds something and there is none."""
    start = span[0].start
    marked = start > 0 and span[0].others and words[start - 1].isalnum()
    return [*words[: start - 1], words[start - 1] + MARK, *words[start:]] if marked else list(words)


def _put(words: Sequence[str], places: Sequence[Place]) -> str:
    """The words with others in these places, which follow each other."""
    words = list(words)
    for start, end, put in reversed(places):
        words[start:end] = put
    return " ".join(words)


def _single_words(place: Place) -> Iterator[Place]:
    """A word less, one more before or behind, or one in place of another."""
    start, end, others = place
    yield from (Place(at, at + 1, []) for at in range(start, end))
    yield from (Place(at, at, [other]) for at in {start, end} for other in others)
    yield from (Place(at, at + 1, [other]) for at in range(start, end) for other in others)
