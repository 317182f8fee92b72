"""Compute the F0 of a language's segments, which a voice is trained on: work for a processor, before a GPU is paid for.

    python scripts/fill_f0_cache.py --language satere

Reads data/<language>/segments.jsonl and the segments, writes data/<language>/cache/f0_praat/: 64 files, however many
segments there are. What is there and not older than its segment stays. src/trainer_vocoder.py computes what is
missing; scripts/modal_run.py calls this. More: docs/launching.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from audio.pitch import fill_f0_cache
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from languages import data_root, language_help, language_paths, resolve_in
from segmentation.manifest import read_manifest


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language", default=os.environ.get("TRAINING_LANGUAGE"), help=language_help("language of the segments")
    )
    parser.add_argument("--num_workers", type=int, help="processes (default: one for each core)")
    args = parse_flags(parser, argv)
    require_positive(args, "num_workers")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    paths = language_paths(args.language)
    segments = [(row["id"], resolve_in(data_root(), row["audio"])) for row in read_manifest(paths["manifest"])]
    fill_f0_cache(paths["cache"], segments, num_workers=args.num_workers)
    print(f"{paths['cache']}: F0 of {len(segments)} segments")


if __name__ == "__main__":
    run_main(main)
