"""Make the index that src/search.py searches: the sounds of every segment of a language, computed once.

Reads the segments of a prepared language; writes exp/<language>_index/.

src/search.py makes it by itself where there is none; this makes it beforehand, or again.

    python src/index_speech.py --language spanish
    python src/index_speech.py --language spanish --encoder models/whisper-base

With mfcc, the first one, nothing is downloaded, and a word is found that the same speaker says again. With a model such
as Whisper, it is found where others say it too. A run that was killed goes on where it was. More: docs/search.md.
"""

import core.quiet_start

import argparse
import sys
from collections.abc import Sequence

from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_positive, run_main
from core.device import choose_device
from core.frames import UNIT_RATE
from languages import add_language_flags, data_root, language_paths
from spoken_search.building import build_index
from spoken_search.choices import add_index_flags, choose_features
from spoken_search.index import index_folder, load_segments, open_index, seconds_of


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_index_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an index of other settings or segments")
    args = parse_flags(parser, argv)
    require_positive(args, "num_workers")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    configure_log()
    segments = load_segments(language_paths(args.language)["manifest"])
    folder = index_folder(args.language, args.tag)
    features = choose_features(
        args.language, folder, encoder=args.encoder, layer=args.layer, padding=args.padding, seed=args.seed
    )
    build_index(
        folder,
        segments,
        data_root(),
        features,
        device=choose_device(args.device),
        num_workers=args.num_workers,
        overwrite=args.overwrite,
        quiet=args.quiet,
    )
    index = open_index(folder, segments)
    said = f"{len(segments)} segments, {seconds_of(index) / 3600:.2f} hours, {index.frames.nbytes / 1e6:.1f} MB"
    print(f"{folder}: {said}, {features['encoder']}, {UNIT_RATE} frames a second", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_main(main, less_memory="mfcc as --encoder")
