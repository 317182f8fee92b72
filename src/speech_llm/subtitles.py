"""Transcripts with times, as files that people and programs read: JSON, a table, subtitles."""

import json
from collections.abc import Sequence
from pathlib import Path

from core.files import write_atomically
from core.records import TranscriptLine

FORMATS = ("json", "tsv", "srt", "vtt")
TABLE_FORMATS = ("json", "tsv")  # of any number of recordings; subtitles are of one


def write_transcript(path: Path, lines: Sequence[TranscriptLine], kind: str) -> None:
    """Write lines to ``path`` as one of FORMATS, whole or not at all."""
    render = {"json": render_json, "tsv": render_tsv, "srt": render_srt, "vtt": render_vtt}[kind]
    write_atomically(path, lambda temporary: temporary.write_text(render(lines), encoding="utf-8"))


def render_json(lines: Sequence[TranscriptLine]) -> str:
    """One JSON array, a line of the file each."""
    return "[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n]\n"


def render_tsv(lines: Sequence[TranscriptLine]) -> str:
    """The columns of ``transcripts.tsv``, so that the recipes read it; lines without text are left out."""
    rows = [[source, f"{start:.3f}", f"{end:.3f}", text] for source, start, end, text in _spoken(lines)]
    return "".join("\t".join(row) + "\n" for row in [["source", "start", "end", "text"], *rows])


def render_srt(lines: Sequence[TranscriptLine]) -> str:
    """SubRip: numbered blocks parted by empty lines, times with a comma."""
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n\n"
        for number, (_, start, end, text) in enumerate(_spoken(lines), 1)
    )


def render_vtt(lines: Sequence[TranscriptLine]) -> str:
    """WebVTT (W3C); the characters that would be markup are escaped."""
    blocks = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escape(text)}\n" for _, start, end, text in _spoken(lines)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _spoken(lines: Sequence[TranscriptLine]) -> list[tuple[str, float, float, str]]:
    """(source, start, end, text) of the lines in which something was said."""
    return [(line["source"], line["start"], line["end"], line["text"]) for line in lines if line["text"]]


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
