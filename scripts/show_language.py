"""Show what the table knows of a language and where its files lie: name, tab, value, one a line."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from core.cli import parse_flags, run_main
from languages import add_language_flags, language_config, language_paths


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_language_flags(parser)
    parser.add_argument("--generator", default="v3", help="version of the generator whose vocoder folder is meant")
    return parse_flags(parser, argv)


def main() -> None:
    args = parse_args()
    table = {"language": args.language} | language_config(args.language)
    table |= language_paths(args.language, args.tag, args.generator)
    print("\n".join(f"{name}\t{'' if value is None else value}" for name, value in table.items()))


if __name__ == "__main__":
    run_main(main)
