"""Corpora with less to train on, for the question how many minutes of recordings a voice needs.

    python scripts/bench/shorten_corpus.py --language russian_prompts --minutes 1 3 5 10

makes data/russian_prompts_1min and so on. They list the language's segments where they lie: val and test whole, of the
training split the first minutes in a seeded random order, so that a longer corpus holds the shorter ones.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import write_text
from core.records import Segment
from languages import add_language_flags, language_paths
from segmentation.manifest import read_manifest


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("corpora")
    group.add_argument("--minutes", type=int, nargs="+", default=[1, 3, 5, 10], help="to train on, a corpus each")
    group.add_argument("--seed", type=int, default=0, help="order of the training segments")
    return parse_flags(parser, argv)


def shorten(rows: Sequence[Segment], seconds: float, seed: int) -> list[Segment]:
    """``rows`` with no more than ``seconds`` of the training split, flagged segments left out of that."""
    train = [row for row in rows if row["split"] == "train" and not row.get("flags")]
    random.Random(seed).shuffle(train)
    kept, total = set(), 0.0
    for row in train:
        if total + row["duration"] > seconds:
            break
        kept.add(row["id"])
        total += row["duration"]
    return [row for row in rows if row["split"] != "train" or row["id"] in kept]


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language)
    rows = list(read_manifest(paths["manifest"]))
    longest = sum(row["duration"] for row in rows if row["split"] == "train")
    if max(args.minutes) * 60 > longest:
        raise UserError(f"--minutes {max(args.minutes)}: the training split holds {longest / 60:.1f}; give less")
    for minutes in args.minutes:
        short = language_paths(f"{args.language}_{minutes}min", may_be_new=True)
        kept = shorten(rows, 60 * minutes, args.seed)
        write_text(short["manifest"], "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in kept))
        print(f"{short['manifest']}: {sum(row['split'] == 'train' for row in kept)} segments to train on")
    return 0


if __name__ == "__main__":
    run_main(main)
