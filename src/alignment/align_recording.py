"""One recording and its text, to the alignment that is written: posteriors, path, times, and a verdict on the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alignment.columns import letter_columns
from alignment.known_text import SpokenText, TextLine, hear_letters, spell_lines
from alignment.reading_emissions import emit_reading, reading_letters
from alignment.times import (
    HeardWords,
    describe_lines,
    describe_unknown,
    edges_of_letters,
    edges_of_tokens,
    find_wildcards,
    find_words,
    position_nats,
    refine_times,
)
from alignment.trellis import DEFAULT_COSTS, Costs, best_path, make_script
from core.errors import UserError
from core.records import Alignment, AlignmentSummary, ReadWindow
from core.text_normalisation import normalise_text


class Scale(NamedTuple):
    """What differs between recognisers; measured in docs/results/alignment.md."""

    lead: float  # s that a word begins before its first letter is marked
    echo: float  # s that it goes on behind its last
    window: int  # positions of the least sure part of a line
    sure: float  # confidence from which on a line is taken as said
    least_said: float  # share of a text's words in sure lines; below, the page is a wrong one


HEAD_SCALE = Scale(lead=0.0, echo=0.0, window=30, sure=0.3, least_said=0.3)
WHISPER_SCALE = Scale(lead=0.1, echo=0.0, window=40, sure=0.3, least_said=0.45)


class Heard(NamedTuple):
    """What a recogniser hears, ready for the trellis."""

    emissions: np.ndarray  # (P, C)
    clock: np.ndarray  # (P, 2) s
    text: SpokenText
    columns: list[list[int]]  # of each word's letters
    read_words: np.ndarray | None  # (P,) number of the word read there; None: of a head


def hear_by_head(emissions: np.ndarray, characters: str, step: float, lines: Sequence[TextLine]) -> Heard:
    """emissions: (P, C) of alignment.head_emissions; step: seconds a position."""
    text = spell_lines(lines, hear_letters(characters))
    positions = np.arange(len(emissions) + 1) * step
    columns = [letter_columns(word.letters, characters) for word in text.words]
    return Heard(emissions, np.stack([positions[:-1], positions[1:]], axis=1), text, columns, None)


def hear_by_reading(windows: Sequence[ReadWindow], lines: Sequence[TextLine], scratch: Path | None = None) -> Heard:
    """windows: of alignment.whisper_readings. scratch: a file for posteriors."""
    alphabet = "".join(sorted({letter for line in lines for letter in normalise_text(line.text)} - {" "}))
    text = spell_lines(lines, hear_letters(alphabet))
    reading = emit_reading(reading_letters(windows), alphabet, scratch)
    columns = [letter_columns(word.letters, alphabet) for word in text.words]
    return Heard(reading.emissions, reading.clock, text, columns, reading.read_words)


def align(source: str, heard: Heard, levels: np.ndarray, scale: Scale, costs: Costs = DEFAULT_COSTS) -> Alignment:
    """levels: (T,) of segmentation.pauses.measure_levels. Raises UserError for a text without known letters."""
    if not heard.columns:
        raise UserError(f"{source}: expected a text in letters that the recogniser knows, found none of them")
    script = make_script(heard.columns)
    path, _ = best_path(heard.emissions, script, costs)
    nats = position_nats(heard.emissions, path, script)
    words = find_words(path, nats, script)
    times = time_words(heard, words, levels, scale)
    lines = describe_lines(heard.text, words, times, nats, scale.window)
    unknown = describe_unknown(find_wildcards(path), heard.text, levels, heard.clock)
    found: Alignment = {
        "source": source,
        "seconds": round(len(levels) / 100, 2),
        "lines": lines,
        "not_in_text": unknown,
        "summary": summarise(lines, unknown, scale),
        "notes": describe_letters(heard.text),
    }
    return found


def time_words(heard: Heard, words: HeardWords, levels: np.ndarray, scale: Scale) -> np.ndarray:
    """(W, 2) float64 seconds; NaN for words that nobody says."""
    times, said = np.full((len(words.starts), 2), np.nan), np.flatnonzero(words.starts >= 0)
    if len(said):
        by_length = heard.read_words is not None
        edges = (
            edges_of_tokens(words, heard.clock, said, heard.read_words, scale.lead)
            if by_length
            else edges_of_letters(words, heard.clock, said, scale.lead, scale.echo)
        )
        times[said] = refine_times(edges, levels, by_length=by_length)
    return times


def summarise(lines, unknown, scale: Scale) -> AlignmentSummary:
    """How much of the text is said, and whether this can be its recording."""
    n_words = sum(len(line["words"]) + len(line["missing"]) for line in lines)
    sure = [line for line in lines if line["confidence"] >= scale.sure]
    share = sum(len(line["words"]) for line in sure) / max(1, n_words)
    return {
        "n_lines": len(lines),
        "sure_lines": len(sure),
        "unsaid_lines": [line["name"] for line in lines if line["start"] is None],
        "unsure_lines": [
            line["name"] for line in lines if line["start"] is not None and line["confidence"] < scale.sure
        ],
        "said_share": round(share, 4),
        "not_in_text_seconds": round(sum(one["end"] - one["start"] for one in unknown), 2),
        "wrong_page": share < scale.least_said,
    }


def describe_letters(text: SpokenText) -> list[str]:
    """What of the text the recogniser cannot hear."""
    notes = []
    if text.unknown:
        most = ", ".join(f"{letter} ({count})" for letter, count in text.unknown.most_common(8))
        notes.append(f"letters that the recogniser does not know, left out: {most}")
    if text.n_numbers:
        notes.append(f"{text.n_numbers} words with digits: write numbers as they are said")
    return notes
