"""Where the words of a language with phone labels begin and end: words.tsv, for src/unit_lm_test.py.

Reads phones.tsv, transcripts.tsv and segments.jsonl of a language of Cyrillic letters (recipes/russian), and aligns
letters with phones as bench_phrases.py does. Writes data/<language>/words.tsv.

    python scripts/bench/write_words.py --language russian --split test
"""

import argparse
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from bench_phrases import align_words

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.records import SPLITS
from core.tables import read_table, write_table
from languages import add_language_flags, language_paths
from segmentation.manifest import read_manifest
from units.phone_labels import read_phones


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    parser.add_argument("--split", choices=SPLITS, default=None, help="only recordings of this split")
    return parse_flags(parser, argv)


def word_rows(source: str, spans: Sequence[tuple[float, float, str]], text: str) -> list[tuple]:
    """Rows of words.tsv of one recording; spans: start, end (s) and name of each phone, "" for silence."""
    words = re.findall(r"[а-яё]+", text.lower())
    owners = align_words([name for _, _, name in spans], words)
    rows = []
    for owner, run in groupby(zip(owners, spans), key=lambda pair: pair[0]):
        held = [span for _, span in run]
        if owner >= 0:
            rows.append((source, f"{held[0][0]:.4f}", f"{held[-1][1]:.4f}", words[owner]))
    return rows


def main() -> None:
    args = parse_args()
    paths = language_paths(args.language)
    labels = read_phones(paths["phones"])
    texts = {row["source"]: row["text"] for _, row in read_table(paths["transcripts"], ("source", "text"))}
    wanted = {row["source"] for row in read_manifest(paths["manifest"]) if args.split in (None, row["split"])}
    rows = []
    for source in sorted(wanted & set(labels.spans) & set(texts)):
        starts, ends, numbers = labels.spans[source]
        names = [labels.names[number] if number else "" for number in numbers]
        rows += word_rows(source, list(zip(starts, ends, names)), texts[source])
    if not rows:
        raise UserError(f"{paths['phones']}: expected recordings with phones and text, found none")
    write_table(paths["data"] / "words.tsv", ("source", "start", "end", "text"), rows)
    print(f"wrote {paths['data'] / 'words.tsv'}: {len(rows)} words")


if __name__ == "__main__":
    run_main(main)
