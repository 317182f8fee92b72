"""An alignment as files: tiers for ELAN and Praat, subtitles, and a table that training reads."""

from collections.abc import Sequence
from pathlib import Path

from annotations.spans import Span
from annotations.write_annotations import write_annotations
from core.records import Alignment, TranscriptLine
from core.tables import write_table
from core.wording import name_some
from speech_llm.subtitles import SUFFIXES, TEXT_TIER, WORD_TIER, write_transcript

FORMATS = ("eaf", "textgrid", "srt", "vtt")
VERSE_TIER, CONFIDENCE_TIER, UNKNOWN_TIER = "ref", "note", "not in the text"
TABLE_COLUMNS = ("source", "start", "end", "text", "name", "confidence")

NAMED = 10  # sources of each kind


def alignment_spans(alignment: Alignment) -> list[Span]:
    """Tiers: lines, their names, words, how sure each line is, and what is not in the text."""
    spans = []
    for line in alignment["lines"]:
        if line["start"] is None:
            continue
        bounds = line["start"], line["end"]
        spans.append(Span(TEXT_TIER, *bounds, line["text"]))
        spans.append(Span(VERSE_TIER, *bounds, line["name"]))
        missing = f"; not said: {' '.join(line['missing'])}" if line["missing"] else ""
        spans.append(Span(CONFIDENCE_TIER, *bounds, f"{line['confidence']:.2f}{missing}"))
        spans += [Span(WORD_TIER, word["start"], word["end"], word["text"]) for word in line["words"]]
    return spans + [Span(UNKNOWN_TIER, one["start"], one["end"], "?") for one in alignment["not_in_text"]]


def transcript_lines(alignment: Alignment) -> list[TranscriptLine]:
    """The lines that are said, for subtitles."""
    return [
        {
            "source": alignment["source"],
            "start": line["start"],
            "end": line["end"],
            "text": line["text"],
            "words": line["words"],
        }
        for line in alignment["lines"]
        if line["start"] is not None
    ]


def write_tiers(folder: Path, stem: str, alignment: Alignment, media: Path, formats: Sequence[str]) -> list[Path]:
    """One file a format; returns them."""
    written = []
    for kind in formats:
        path = folder / f"{stem}.{SUFFIXES.get(kind, kind)}"
        if kind in ("eaf", "textgrid"):
            spans = alignment_spans(alignment)
            write_annotations(path, spans, form=kind, media=media, seconds=alignment["seconds"])
        else:
            write_transcript(path, transcript_lines(alignment), kind, media)
        written.append(path)
    return written


def trained_rows(alignment: Alignment, sure: float) -> list[tuple]:
    """Rows of TABLE_COLUMNS: lines whose words are all said, as sure as ``sure``; none of a wrong page."""
    if alignment["summary"]["wrong_page"]:
        return []
    return [
        (
            alignment["source"],
            f"{line['start']:.3f}",
            f"{line['end']:.3f}",
            " ".join(line["text"].split()),
            line["name"],
            f"{line['confidence']:.3f}",
        )
        for line in alignment["lines"]
        if line["start"] is not None and not line["missing"] and line["confidence"] >= sure
    ]


def write_transcripts(path: Path, rows: Sequence[tuple]) -> None:
    write_table(path, TABLE_COLUMNS, rows)


def render_report(alignment: Alignment) -> str:
    """What a person should know of it, in lines."""
    summary, source = alignment["summary"], alignment["source"]
    lines = [
        f"{source}: {summary['sure_lines']} of {summary['n_lines']} lines found, "
        f"{100 * summary['said_share']:.0f} % of the words"
    ]
    if summary["wrong_page"]:
        lines.append(f"{source}: this text does not seem to be read here; is it the right page?")
    for key, what in (("unsaid_lines", "not said"), ("unsure_lines", "unsure, listen to")):
        if summary[key]:
            lines.append(f"{source}: {what}: {name_some(summary[key], NAMED)}")
    if partly := [line["name"] for line in alignment["lines"] if line["start"] is not None and line["missing"]]:
        lines.append(f"{source}: words missing in: {name_some(partly, NAMED)}")
    for one in alignment["not_in_text"][:20]:
        after = f" (after {one['after']})" if one["after"] else ""
        lines.append(f"{source}: speech that is not in the text: {clock(one['start'])} to {clock(one['end'])}{after}")
    if len(alignment["not_in_text"]) > 20:
        lines.append(f"{source}: and {len(alignment['not_in_text']) - 20} stretches more in alignment.json")
    return "\n".join([*lines, *(f"{source}: {note}" for note in alignment["notes"])])


def clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
