"""Show what holds for a language and where its files lie: name, tab, value, one a line.

Reads the table of languages (src/languages.py); writes nothing.

    python scripts/show_language.py --language guarani --block

More: docs/usage.md.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.records import LanguageConfig
from languages import DEFAULT_GENERATOR, add_language_flags, language_config, language_paths


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    parser.add_argument(
        "--generator", default=DEFAULT_GENERATOR, help="version of the generator whose vocoder folder is meant"
    )
    parser.add_argument("--block", action="store_true", help="print its entry for LANGUAGE_CONFIGS in src/languages.py")
    return parse_flags(parser, argv)


def entry_block(language: str, config: LanguageConfig) -> str:
    """The lines of an entry, as they stand in LANGUAGE_CONFIGS."""
    lines = [f'        "{key}": {_python_literal(value)},' for key, value in config.items()]
    return "\n".join([f'    "{language}": {{', *lines, "    },"])


def _python_literal(value: str | int | None) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def main() -> None:
    args = parse_args()
    config = language_config(args.language)
    if args.block:
        print(entry_block(args.language, config))
        return
    table = {"language": args.language} | config
    table |= language_paths(args.language, args.tag, args.generator)
    print("\n".join(f"{name}\t{'' if value is None else value}" for name, value in table.items()))


if __name__ == "__main__":
    run_main(main)
