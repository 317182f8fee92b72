"""What the recogniser wrote for the original and for each resynthesis, the words that differ marked."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from core.records import UtteranceScore
from core.text_normalisation import drop_quotations, normalise_text
from report.data import Experiment

Pieces = list[tuple[str, str]]  # (kind, words): "equal", "del" (the other text lacks them) or "ins"


class HeardLine(NamedTuple):
    """A text under its label; the experiment it comes from by its number, None for the original."""

    label: str
    experiment: Experiment | None
    series: int | None
    pieces: Pieces


def word_difference(original: str, heard: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces, those that the other one lacks marked (``del`` in the first, ``ins`` in the second).

    Words are compared as the error rates compare them: without case and punctuation.
    """
    first, second = original.split(), heard.split()
    # Quotation marks touch a word, so that as many words are left without them.
    normalised = ([normalise_text(word) for word in drop_quotations(text).split()] for text in (original, heard))
    before, after = [], []
    for kind, start, end, begin, stop in difflib.SequenceMatcher(None, *normalised, autojunk=False).get_opcodes():
        for pieces, words, mark in ((before, first[start:end], "del"), (after, second[begin:stop], "ins")):
            if words:
                pieces.append(("equal" if kind == "equal" else mark, " ".join(words)))
    return before, after


def heard_lines(scored: Sequence[tuple[int, Experiment]], utterance: UtteranceScore) -> list[HeardLine]:
    """The transcript, and what was heard in the original and in each resynthesis, where there are such texts.

    scored: (number, experiment) pairs of those with scores.
    """
    transcript, original, lines = utterance.get("text"), utterance.get("asr_original"), []
    if transcript:
        lines.append(HeardLine("Transcript", None, None, [("equal", transcript)]))
    if original is None:
        return lines
    for place, (index, experiment) in enumerate(scored):
        heard = _reading_of(experiment, utterance["id"])
        if heard is None:
            continue
        before, after = word_difference(original, heard)
        if place == 0:
            lines.append(HeardLine("Heard in the original", None, None, before))
        if len(scored) == 1:
            lines.append(HeardLine("Heard in the resynthesis", None, None, after))
        else:
            lines.append(HeardLine("Heard: ", experiment, index, after))
    return lines


def _reading_of(experiment: Experiment, name: str) -> str | None:
    found = next((row for row in experiment.scores.utterances if row["id"] == name), {})
    return found.get("asr_resynthesis")
