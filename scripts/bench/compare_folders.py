"""Do two runs of one chain hold the same: checkpoints to the bit, scores to the digit, other files byte for byte?

    python scripts/bench/compare_folders.py /tmp/before /tmp/after

Logs, config.json and time fields are left out. Exit code 1 where anything differs.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from equal_runs import folder_differences


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("folders", nargs=2, type=Path, metavar="FOLDER", help="what two checkouts wrote")
    parser.add_argument("--most", type=int, default=40, help="differences shown")
    args = parse_flags(parser, argv)
    for folder in args.folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder, found none")
    return args


def main() -> int:
    args = parse_args()
    n_files, found = folder_differences(*args.folders)
    for difference in found[: args.most]:
        print(difference)
    print(f"{n_files} files compared, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    run_main(main)
