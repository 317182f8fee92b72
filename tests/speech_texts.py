"""A tiny language with transcripts."""

import json
from pathlib import Path

from synthetic import write_segments

WORDS = ("uno", "dos", "tres", "cuatro", "cinco")


def write_texts(data_root: Path, language: str) -> list[dict]:
    """``write_segments`` with a text for each; returns the rows."""
    write_segments(data_root, language)
    manifest = data_root / language / "segments.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = [row | {"text": f"{WORDS[n % 5]} {WORDS[n // 2 % 5]}"} for n, row in enumerate(rows)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows
