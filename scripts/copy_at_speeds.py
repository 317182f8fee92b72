"""More voices out of one: every training segment also slower and faster, for a long training on few recordings.

Pitch and vocal tract move together, as they do between people, so each speed is a speaker of its own. A voice that
learns them all learns its minutes less by heart, and is more natural after a long training
(docs/results/naturalness.md). Reads data/<language>/segments.jsonl. Makes data/<language>_copies, where val and test
are the originals alone:

    python scripts/copy_at_speeds.py --language spanish
    python src/extract_units.py --language spanish_copies --kmeans exp/spanish_units/kmeans.npz
    python src/trainer_vocoder.py --language spanish_copies --speaker_embedding --steps 3500

The clusters of the language itself, so that its units mean what they meant. More: docs/phase3.md.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.commands import as_typed
from core.errors import UserError
from core.locks import only_run
from core.records import Segment
from languages import add_language_flags, language_paths
from segmentation.manifest import read_manifest
from segmentation.speed_copies import copy_at_speed, write_segments_list
from vocoder.voice_card import LICENCE_FILES

SPEEDS = [0.87, 0.93, 1.07, 1.15]
SLOWEST, FASTEST = 0.5, 2.0  # beyond, nobody sounds like a person


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("copies")
    group.add_argument("--speeds", nargs="+", type=float, default=SPEEDS, help="a copy of everything at each of them")
    args = parse_flags(parser, argv)
    for speed in args.speeds:
        if not SLOWEST <= speed <= FASTEST or round(100 * speed) == 100:
            raise UserError(f"--speeds {speed:g}: expected {SLOWEST:g} to {FASTEST:g}, and not 1, the original itself")
    if len({round(100 * speed) for speed in args.speeds}) < len(args.speeds):
        raise UserError(f"--speeds {' '.join(map(str, args.speeds))}: two are the same in hundredths; leave one out")
    return args


def read_segments(language: str) -> list[Segment]:
    """The segments of ``language``; those without a speaker have one of the language's name."""
    manifest = language_paths(language)["manifest"]
    if not manifest.is_file():
        raise UserError(
            f"{manifest}: expected segments, found none; run: python scripts/segment_audio.py --language {language}"
        )
    return [row | {"speaker": row["speaker"] or language} for row in read_manifest(manifest)]


def main() -> int:
    args = parse_args()
    sources, rows = language_paths(args.language, args.tag), read_segments(args.language)
    paths = language_paths(f"{args.language}_copies", may_be_new=True)
    with only_run(paths["data"]):
        train = [row for row in rows if row["split"] == "train" and not row.get("flags")]
        paths["segments"].mkdir(parents=True, exist_ok=True)
        copies = [
            copy_at_speed(row, speed, paths["segments"])
            for row in tqdm(train, desc=f"{len(args.speeds)} copies each", unit="segment")
            for speed in args.speeds
        ]
        for pattern in LICENCE_FILES:
            for licence in sources["data"].glob(pattern):
                shutil.copyfile(licence, paths["data"] / licence.name)
        rows += copies
        write_segments_list(paths, rows)
    minutes = sum(row["duration"] for row in rows if row["split"] == "train") / 60
    speakers = len({row["speaker"] for row in rows})
    print(f"{paths['manifest']}: {len(rows)} segments, {minutes:.0f} minutes to train on, {speakers} speakers")
    clusters = sources["units"] / "kmeans.npz"
    tagged = ("--tag", args.tag) if args.tag else ()
    words = ("python", "src/extract_units.py", "--language", paths["data"].name, *tagged, "--kmeans", clusters)
    print(f"next: {as_typed(*words)}")
    return 0


if __name__ == "__main__":
    run_main(main)
