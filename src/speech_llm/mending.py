"""What a search has missed: words of other readings, put into a text where they make it score better.

A beam drops a word as soon as too many others are cheaper, though it would pay later: digits are two tokens, of which
the first, a space, adds nothing to be heard. The head's own reading and the other beams still have such words. So each
is tried in its place in the whole text, the best exchange is made, and so on until none helps (a hill is climbed).
"""

import difflib
from collections.abc import Callable, Iterator, Sequence

from core.text_normalisation import normalise_text

ROUNDS = 12  # exchanges, one after the other
MOST_SCORED = 4  # exchanges of a round: those that the head likes best
LEAST_GAIN = 0.02  # nats: more than the same text may differ by when it is scored in two batches


def mend_text(
    text: str,
    readings: Sequence[str],
    score: Callable[[list[str]], list[float]],
    hear: Callable[[str], float],
) -> str:
    """``text`` with words of the ``readings`` where its score rises.

    score: texts -> nats. hear: the part of a text's score that costs little to know, and says which are worth the rest.
    """
    best, tried = score([text])[0], {text}
    for _ in range(ROUNDS):
        texts = sorted((other for other in exchanges(text, readings) if other not in tried), key=hear)[-MOST_SCORED:]
        if not texts:
            break
        tried |= {*texts}
        gained, other = max(zip(score(texts), texts))
        if gained < best + LEAST_GAIN:
            break
        best, text = gained, other
    return text


def exchanges(text: str, readings: Sequence[str]) -> list[str]:
    """Distinct texts that differ from ``text`` in one place, as one of the readings has it there."""
    words = text.split()
    found = {
        " ".join([*words[:start], *put, *words[end:]]): None
        for reading in readings
        for start, end, put in _differences(words, reading.split())
    }
    return [other for other in found if other != text]


def _differences(words: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int, Sequence[str]]]:
    """(start, end, words to put there): whole places that differ, then single words of them."""
    plain = [[normalise_text(word) for word in row] for row in (words, others)]
    blocks = difflib.SequenceMatcher(None, *plain, autojunk=False).get_opcodes()
    blocks = [block[1:] for block in blocks if block[0] != "equal"]
    for start, end, first, last in blocks:
        yield start, end, others[first:last]
    for start, end, first, last in blocks:
        yield from ((place, place + 1, ()) for place in range(start, end))
        yield from ((place, place, [other]) for place in {start, end} for other in others[first:last])
        yield from ((place, place + 1, [other]) for place in range(start, end) for other in others[first:last])
