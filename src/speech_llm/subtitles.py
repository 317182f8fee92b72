"""Transcripts with times, as files that people and programs read: JSON, a table, subtitles.

A *line* is {"source", "start", "end" (seconds), "text"}.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from core.files import write_atomically

FORMATS = ("json", "tsv", "srt", "vtt")
WHOLE = ("json", "tsv")  # of any number of recordings; the others are of one


def write_transcript(path: Path, lines: Sequence[dict], kind: str) -> None:
    """Write lines to ``path`` as one of FORMATS, whole or not at all."""
    render = {"json": render_json, "tsv": render_tsv, "srt": render_srt, "vtt": render_vtt}[kind]
    write_atomically(path, lambda temporary: temporary.write_text(render(lines), encoding="utf-8"))


def render_json(lines: Sequence[dict]) -> str:
    """One JSON array, a line of the file each."""
    return "[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n]\n"


def render_tsv(lines: Sequence[dict]) -> str:
    """The columns of ``transcripts.tsv``, so that the recipes read it; lines without text are left out."""
    rows = [[line["source"], f"{line['start']:.3f}", f"{line['end']:.3f}", line["text"]] for line in _spoken(lines)]
    return "".join("\t".join(row) + "\n" for row in [["source", "start", "end", "text"], *rows])


def render_srt(lines: Sequence[dict]) -> str:
    """SubRip: numbered blocks parted by empty lines, times with a comma."""
    return "".join(
        f"{number}\n{_clock(line['start'], ',')} --> {_clock(line['end'], ',')}\n{line['text']}\n\n"
        for number, line in enumerate(_spoken(lines), 1)
    )


def render_vtt(lines: Sequence[dict]) -> str:
    """WebVTT (W3C); the characters that would be markup are escaped."""
    blocks = [
        f"{_clock(line['start'], '.')} --> {_clock(line['end'], '.')}\n{_escape(line['text'])}\n"
        for line in _spoken(lines)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _spoken(lines: Sequence[dict]) -> list[dict]:
    return [line for line in lines if line["text"]]


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
