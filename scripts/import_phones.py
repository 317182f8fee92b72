"""Phones from annotation files: a tier of ELAN or Praat, or a table with times, becomes phones.tsv.

Reads the annotation files of the recordings in ``data/<language>/raw/``, which lie beside them under their names or in
the folder of --annotations. Writes ``data/<language>/phones.tsv``, with which src/validate_units.py judges units.
Points, which have no length, are left out and counted. The table is refused where two phones overlap.

    python scripts/import_phones.py --language guarani --phone_tier phones

More: docs/phase1.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from annotations.find_annotations import find_annotations
from annotations.read_annotations import read_annotations
from annotations.spans import choose_text_tiers
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.locks import only_run
from core.tables import write_table
from languages import add_language_flags, language_paths
from segmentation.recordings import list_sources
from units.phone_labels import read_phones


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("annotations")
    group.add_argument("--phone_tier", nargs="+", required=True, help="tiers that hold phones, without @speaker")
    group.add_argument(
        "--annotations", type=Path, default=None, help="folder of the files; by default beside the recordings"
    )
    group.add_argument("--overwrite", action="store_true", help="replace a phones.tsv that is there")
    return parse_flags(parser, argv)


def read_phone_rows(source: str, path: Path, tiers: Sequence[str]) -> tuple[list[tuple], int]:
    """Rows of phones.tsv from one annotation file, and the number of points."""
    spans = read_annotations(path)
    chosen = set(choose_text_tiers(spans, tiers))
    wanted = [span for span in spans if span.tier in chosen]
    rows = [(source, f"{span.start:.4f}", f"{span.end:.4f}", span.text) for span in wanted if span.end > span.start]
    return sorted(rows, key=lambda row: float(row[1])), len(wanted) - len(rows)


def write_checked(path: Path, rows: Sequence[tuple]) -> list[str]:
    """Write phones.tsv once it reads well; returns the names of its phones. A table that is there stays until then."""
    trial = path.with_name(f".{path.name}.tmp.tsv")
    try:
        write_table(trial, ("source", "start", "end", "phone"), rows)
        names = read_phones(trial).names[1:]
        os.replace(trial, path)
    except UserError as error:
        raise UserError(str(error).replace(str(trial), str(path))) from error
    finally:
        trial.unlink(missing_ok=True)
    return names


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language)
    with only_run(paths["data"]):
        if paths["phones"].exists() and not args.overwrite:
            raise UserError(f"{paths['phones']}: expected none yet, found one; give --overwrite to replace it")
        sources = list_sources(paths["raw"]) if paths["raw"].is_dir() else {}
        found, _ = find_annotations(sources, args.annotations)
        read = [read_phone_rows(source, path, args.phone_tier) for source, path in sorted(found.items())]
        rows, n_points = [row for some, _ in read for row in some], sum(points for _, points in read)
        if not rows:
            raise UserError(
                f"{args.annotations or paths['raw']}: expected phones on the tier {' or '.join(args.phone_tier)}, "
                f"found none in {len(found)} annotation files of {len(sources)} recordings; check --phone_tier"
            )
        names = write_checked(paths["phones"], rows)
        n_empty = sum(not some for some, _ in read)
        print(
            f"{paths['phones']}: {len(rows)} phones of {len(names)} kinds, from {len(read) - n_empty} annotation files"
        )
        if n_empty or n_points:
            print(f"left out: {n_empty} files without such a tier, {n_points} points")
        return 0


if __name__ == "__main__":
    run_main(main)
