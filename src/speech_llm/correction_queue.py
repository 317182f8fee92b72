"""Which lines somebody should correct first: those with most letters a second that the recogniser is not sure of.

Uncertainty sampling (Lewis and Gale 1994), with a budget of speech instead of a number of lines. By confidence alone,
slow speech would come first, in which there is less to correct (docs/results/speech_to_text.md).
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.find_annotations import find_annotations
from annotations.read_annotations import read_annotations
from annotations.spans import Span, written_spans
from core.composed_names import composed
from core.records import TranscriptLine
from core.text_normalisation import normalise_text
from segmentation.manifest import read_manifest
from speech_llm.transcribed_items import clean_text

SHORTEST = 0.1  # s that a line counts for at least
COVERED_SHARE = 0.5  # of a line, from which on earlier corrections stand for it


def rank_least_sure(lines: Sequence[TranscriptLine], minutes: float) -> list[TranscriptLine]:
    """The same lines in their order, with a ``rank``: from 1 on for the least sure ``minutes`` of speech, 0 for others.

    At least one line is chosen. Corrected lines, which have no confidence, get no rank.
    """
    heard = [place for place, line in enumerate(lines) if "confidence" in line]
    doubts = dict(zip(heard, find_doubts([lines[place] for place in heard])))
    order = sorted(heard, key=lambda place: -doubts[place])
    ranks, reached = {}, 0.0
    for place in order:
        reached += _seconds(lines[place])
        if ranks and reached > 60 * minutes:
            break
        ranks[place] = len(ranks) + 1
    return [line | {"rank": ranks.get(place, 0)} if "confidence" in line else line for place, line in enumerate(lines)]


def find_doubts(lines: Sequence[TranscriptLine]) -> list[float]:
    """Letters a second that are expected to be wrong: those written, times how unsure the recogniser is of them.

    A line in which nothing was heard counts as if it held as many letters a second as half of the others do at least.
    """
    rates = [len(normalise_text(line["text"])) / max(_seconds(line), SHORTEST) for line in lines]
    usual = statistics.median([rate for rate in rates if rate] or [1.0])
    return [(1 - line["confidence"]) * (rate or usual) for line, rate in zip(lines, rates)]


def queue_of(lines: Sequence[TranscriptLine]) -> list[TranscriptLine]:
    """The ranked lines alone, least sure first."""
    return sorted((line for line in lines if line.get("rank")), key=lambda line: line["rank"])


def read_corrected(sources: Mapping[str, Path], folder: Path) -> dict[str, list[Span]]:
    """Recording -> the spans that hold what is said, from the annotation files in ``folder``, or from its segments."""
    if (folder / "segments.jsonl").is_file():
        return _read_segments(sources, folder / "segments.jsonl")
    found, _ = find_annotations(sources, folder)
    spans = {source: read_annotations(path) for source, path in found.items()}
    return {source: written_spans(own) for source, own in spans.items()}


def _read_segments(sources: Mapping[str, Path], manifest: Path) -> dict[str, list[Span]]:
    """The texts of ``segments.jsonl`` where they stand in the recordings."""
    by_name = {composed(source): source for source in sources}
    found: dict[str, list[Span]] = {}
    for row in read_manifest(manifest):
        for part in row.get("parts") or [row]:
            source, text = by_name.get(composed(part["source"])), clean_text(part.get("text"))
            if source and text:
                speaker = row.get("speaker")
                found.setdefault(source, []).append(Span("transcription", part["start"], part["end"], text, speaker))
    return found


def keep_corrected(lines: Sequence[TranscriptLine], corrected: Mapping[str, Sequence[Span]]) -> list[TranscriptLine]:
    """The lines in order of recording and time, with ``corrected`` texts in place of those that they cover."""
    kept = [line for line in lines if _covered(line, corrected.get(line["source"], ())) < COVERED_SHARE]
    order = {source: place for place, source in enumerate(dict.fromkeys(line["source"] for line in lines))}
    own: list[TranscriptLine] = [
        {"source": source, "start": span.start, "end": span.end, "text": span.text}
        | ({"speaker": span.speaker} if span.speaker else {})
        for source, spans in corrected.items()
        if source in order
        for span in spans
    ]
    return sorted([*kept, *own], key=lambda line: (order[line["source"]], line["start"]))


def _covered(line: TranscriptLine, spans: Sequence[Span]) -> float:
    """The share of a line's time that spans cover."""
    seconds = sum(max(0.0, min(line["end"], span.end) - max(line["start"], span.start)) for span in spans)
    return seconds / max(_seconds(line), SHORTEST)


def _seconds(line: TranscriptLine) -> float:
    return line["end"] - line["start"]
