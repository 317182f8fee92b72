"""One corpus of many voices for the base voice: the segments of several languages, and shifted copies of some.

``data/base_voice/segments.jsonl`` lists the segments of ``--sources`` where they lie, with the splits that they have.
A share of the training segments is also there played slower and faster (``--rates``), as more speakers: pitch and
vocal tract move together, as they do between people. The same sources give the same corpus.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from tqdm import tqdm

from core.cli import parse_flags, require_share, run_main
from core.errors import UserError
from core.locks import only_run
from core.records import Segment
from languages import add_language_flags, language_paths
from segmentation.manifest import read_manifest
from segmentation.speed_copies import copy_at_speed, write_segments_list

SOURCES = ["english", "italian", "spanish", "russian_prompts", "russian"]


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
    parser.set_defaults(language="base_voice")
    group = parser.add_argument_group("corpus")
    group.add_argument("--sources", nargs="+", default=SOURCES, help="languages with segments, see their recipes")
    group.add_argument(
        "--rates", nargs="*", type=float, default=[0.87, 1.15], help="speeds of the copies; none: no copies"
    )
    group.add_argument("--copied", type=float, default=0.3, help="share of the training segments that are copied")
    group.add_argument("--seed", type=int, default=0, help="which segments are copied, and how fast")
    args = parse_flags(parser, argv)
    require_share(args, "copied")
    return args


def read_source(language: str) -> list[Segment]:
    """The segments of one language, named after it as well."""
    manifest = language_paths(language)["manifest"]
    if not manifest.is_file():
        raise UserError(f"{manifest}: expected segments, found none; run: bash recipes/{language}/prepare.sh")
    rows = read_manifest(manifest)
    return [
        row | {"id": f"{language}_{row['id']}", "source": f"{language}/{row['source']}"} | _named_speaker(row, language)
        for row in rows
    ]


def _named_speaker(row: Segment, language: str) -> dict[str, str]:
    return {"speaker": row["speaker"] or language}


def copies(rows: list[Segment], args: argparse.Namespace, folder: Path) -> Iterator[Segment]:
    draw = random.Random(args.seed)
    chosen = [(row, draw.choice(args.rates)) for row in rows if draw.random() < args.copied] if args.rates else []
    folder.mkdir(parents=True, exist_ok=True)
    for row, rate in tqdm(chosen, desc="copies at other speeds", unit="segment"):
        yield copy_at_speed(row, rate, folder)


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, may_be_new=True)
    with only_run(paths["data"]):
        rows = [row for language in args.sources for row in read_source(language)]
        train = [row for row in rows if row["split"] == "train" and not row.get("flags")]
        rows += copies(train, args, paths["segments"])
        write_segments_list(paths, rows)
        seconds = sum(row["duration"] for row in rows if row["split"] == "train")
        print(f"{paths['manifest']}: {len(rows)} segments, {seconds / 60:.0f} minutes to train on", file=sys.stderr)
        return 0


if __name__ == "__main__":
    run_main(main)
