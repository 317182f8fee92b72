"""Transcripts with times, as files that people and programs read: JSON, a table, subtitles, ELAN, Praat."""

import json
from collections.abc import Sequence
from pathlib import Path

from annotations.spans import DRAFT, UNHEARD, Span
from annotations.write_annotations import write_annotations
from audio.audio_spans import audio_seconds
from core.files import write_atomically
from core.records import TranscriptLine

FORMATS = ("json", "tsv", "srt", "vtt", "eaf", "textgrid")
SUFFIXES = {"textgrid": "TextGrid"}  # of files, where it is not the name of the format
TABLE_FORMATS = ("json", "tsv")  # of any number of recordings; the others are of one
WORD_FORMATS = ("json", "vtt", "eaf", "textgrid")  # that hold the time of each word
RATED_FORMATS = ("json", "tsv", "eaf", "textgrid")  # that hold confidences
TEXT_TIER, DRAFT_TIER, WORD_TIER, NOTE_TIER = "transcription", DRAFT, "word", "note"


def write_transcript(path: Path, lines: Sequence[TranscriptLine], kind: str, media: Path | None = None) -> None:
    """Write lines to ``path`` as one of FORMATS, whole or not at all.

    media: the recording, for ELAN and Praat.
    """
    if kind in ("eaf", "textgrid"):
        write_annotations(path, line_spans(lines), form=kind, media=media, seconds=audio_seconds(media))
        return
    render = {"json": render_json, "tsv": render_tsv, "srt": render_srt, "vtt": render_vtt}[kind]
    write_atomically(path, lambda temporary: temporary.write_text(render(lines), encoding="utf-8"))


def line_spans(lines: Sequence[TranscriptLine]) -> list[Span]:
    """Tiers: the lines, their words where timed, and in a note how sure the recogniser is.

    Where lines have a rank, those to correct stand on the tier that the project reads as text, and all others are
    drafts, which it does not read.
    """
    spans = []
    for line in lines:
        rank, bounds = line.get("rank"), (line["start"], line["end"])
        if line["text"] or rank:
            tier = DRAFT_TIER if rank == 0 else TEXT_TIER
            # A name behind "@", as ELAN's users write it, keeps tiers of several speakers readable.
            tier += f"@{line['speaker']}" if line.get("speaker") else ""
            spans.append(Span(tier, *bounds, line["text"] or UNHEARD, line.get("speaker")))
        if "confidence" in line:
            spans.append(Span(NOTE_TIER, *bounds, (f"{rank}: " if rank else "") + f"{line['confidence']:.2f}"))
        spans += [Span(WORD_TIER, word["start"], word["end"], word["text"]) for word in line.get("words", ())]
    return spans


def render_json(lines: Sequence[TranscriptLine]) -> str:
    """One JSON array, a line of the file each."""
    return "[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n]\n"


def render_tsv(lines: Sequence[TranscriptLine]) -> str:
    """The columns of ``transcripts.tsv``, so that the recipes read it; lines without text are left out.

    A column of confidences stands last where there are any.
    """
    rated = any("confidence" in line for line in lines)
    rows = [["source", "start", "end", "text", *(["confidence"] if rated else [])]]
    for line in _spoken(lines):
        sure = [f"{line['confidence']:.3f}" if "confidence" in line else ""] if rated else []
        rows.append([line["source"], f"{line['start']:.3f}", f"{line['end']:.3f}", line["text"], *sure])
    return "".join("\t".join(row) + "\n" for row in rows)


def render_srt(lines: Sequence[TranscriptLine]) -> str:
    """SubRip: numbered blocks parted by empty lines, times with a comma."""
    return "".join(
        f"{number}\n{_clock(line['start'], ',')} --> {_clock(line['end'], ',')}\n{line['text']}\n\n"
        for number, line in enumerate(_spoken(lines), 1)
    )


def render_vtt(lines: Sequence[TranscriptLine]) -> str:
    """WebVTT (W3C); the characters that would be markup are escaped. A timed word begins with its time."""
    blocks = [
        f"{_clock(line['start'], '.')} --> {_clock(line['end'], '.')}\n{_timed_text(line)}\n" for line in _spoken(lines)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _spoken(lines: Sequence[TranscriptLine]) -> list[TranscriptLine]:
    """The lines in which something was said."""
    return [line for line in lines if line["text"]]


def _timed_text(line: TranscriptLine) -> str:
    """The text; of words that are timed, each after the first with the time at which it is shown."""
    words, reached, parts = line.get("words", ()), _clock(line["start"], "."), []
    if not words:
        return _escape(line["text"])
    for word in words:
        begins = _clock(word["start"], ".")
        parts.append((f"<{begins}>" if begins > reached else "") + _escape(word["text"]))
        reached = max(reached, begins)
    return " ".join(parts)


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
