"""One self-contained report.html of one or several experiments: numbers, curves, and players to listen to.

Reads experiments with their scores (src/vocoder_test.py); writes report.html into the first one.

    python src/build_report.py exp/spanish_vocoder_v4
    python src/build_report.py exp/spanish_vocoder_v4 exp/spanish_vocoder_v4_w4 --out comparison.html

The page needs no network and no other file: audio is embedded as MP3, pictures as SVG. Several experiments stand side
by side, the first one being what the others are compared with. More: docs/usage.md.
"""

import core.quiet_start

import argparse
from collections.abc import Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import write_atomically
from report.data import load_experiment
from report.page import build_page

PAGE_LIMIT_MB = 15.0  # beyond this a page is slow to open and to send


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("experiments", nargs="+", type=Path, metavar="exp", help="experiment folders (exp/<name>)")
    parser.add_argument("--out", type=Path, default=None, help="file to write; by default report.html in the first one")
    group = parser.add_argument_group("what to show")
    group.add_argument("--max_examples", type=int, default=9, help="test utterances to listen to, from best to worst")
    group.add_argument("--max_seconds", type=float, default=20.0, help="longest audio of one player, in seconds")
    group.add_argument(
        "--max_motifs", type=int, default=12, help="motifs to show: the most frequent, and as many long ones"
    )
    args = parse_flags(parser, argv)
    if args.max_examples < 0 or args.max_motifs < 0 or args.max_seconds <= 0:
        raise UserError("--max_examples and --max_motifs must be 0 or more and --max_seconds above 0")
    return args


def main() -> int:
    args = parse_args()
    experiments = [load_experiment(path) for path in args.experiments]
    page = build_page(experiments, n_examples=args.max_examples, max_seconds=args.max_seconds, n_motifs=args.max_motifs)
    out = args.out or experiments[0].path / "report.html"
    write_atomically(out, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    megabytes = out.stat().st_size / 1e6
    print(f"wrote {out} ({megabytes:.1f} MB); open it in a browser, no network needed")
    if megabytes > PAGE_LIMIT_MB:
        print("the page is large: --max_examples, --max_seconds or --max_motifs make it smaller")
    return 0


if __name__ == "__main__":
    run_main(main)
