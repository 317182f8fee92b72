"""Take recordings back from the Modal volume: what the data here no longer names, or everything of a language.

    python scripts/remove_from_modal.py --language satere                      # lists what would go, removes nothing
    python scripts/remove_from_modal.py --language satere --yes                # removes it
    python scripts/remove_from_modal.py --language satere --everything --yes   # all of the language, results too

When a speaker or a community withdraws recordings, remove them here first, segment again (scripts/segment_audio.py),
then call this. It reads segments.jsonl: segments that are no longer named go, with the caches computed from them.
Experiments made from them still hold units, samples and weights: they are named, and --experiments removes them.
More: docs/launching.md.
"""

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from languages import languages_with_entry
from launching.job import PLAIN_NAME
from launching.modal_account import default_volume, open_existing_volume, open_writers, require_token
from launching.modal_calls import call_lives
from launching.modal_volume import (
    DATA,
    EXP,
    archive_folder,
    bears_name,
    experiments_of,
    forget_archives_of,
    list_files,
    list_folder,
    put_tables,
    remove_files,
    remove_folders,
    unnamed_files,
)
from launching.modal_writers import find_writers
from launching.upload_sources import folder_source, language_source

SHOWN = 10  # names of files, before the rest are counted


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help="language whose recordings to take back; TRAINING_LANGUAGE sets it too",
    )
    parser.add_argument("--folder", type=Path, help="instead of a language: a folder that was uploaded with --folder")
    group = parser.add_argument_group("what goes")
    group.add_argument("--everything", action="store_true", help="all data and all experiments of --language")
    group.add_argument("--experiments", nargs="+", default=[], metavar="NAME", help="these folders below exp/, too")
    group.add_argument("--yes", action="store_true", help="remove; without it, only list what would go")
    group.add_argument("--volume", default=default_volume(), help="the volume; ORAL_UNITS_VOLUME sets it too")
    args = parse_flags(parser, argv)
    if not args.folder and not PLAIN_NAME.fullmatch(args.language or ""):
        raise UserError(f"--language {args.language}: expected the name of a language, as in satere")
    if args.folder and args.everything:
        raise UserError("--everything: expected --language with it, whose name its experiments bear")
    for name in args.experiments:
        if not PLAIN_NAME.fullmatch(name):
            raise UserError(f"--experiments {name}: expected the name of a folder below exp/, as in satere_units")
    return args


def show(what: str, names: Sequence[str]) -> None:
    """``what``, how many, and the first of them."""
    print(f"{what}: {len(names)}")
    for name in names[:SHOWN]:
        print(f"  {name}")
    if len(names) > SHOWN:
        print(f"  … and {len(names) - SHOWN} more")


def take_back_some(volume: object, args: argparse.Namespace) -> list[str]:
    """What the data here no longer names: the tables go up first, so that nobody looks for what goes."""
    source = folder_source(args.folder) if args.folder else language_source(args.language)
    gone = unnamed_files(volume, source)
    show(f"files of {DATA}/{source.folder} that are no longer named here, and caches", gone)
    if gone and args.yes:
        put_tables(volume, source)
        forget_archives_of(volume, gone)
        remove_files(volume, tqdm(gone, unit="file", disable=None))
    return gone


def take_back_all(volume: object, language: str, experiments: Sequence[str], *, yes: bool) -> list[str]:
    """A language's data, archives and experiments."""
    files = list_files(volume, f"{DATA}/{language}")
    show(f"files of {DATA}/{language}", files)
    show("experiments", experiments)
    if yes:
        forget_archives_of(volume, files)
        remove_folders(volume, [archive_folder(language), f"{DATA}/{language}"])
        remove_folders(volume, [f"{EXP}/{name}" for name in experiments])
    return [*files, *experiments]


def require_no_writer(volume_name: str, language: str, experiments: Collection[str], others: Collection[str]) -> None:
    """UserError while a call works on the language or writes to one of ``experiments``: it would write again."""

    def concerns(folder: str) -> bool:
        name = folder.partition("/")[0]
        return name in experiments or bears_name(name, language, others) or name.endswith(f"_{language}")

    if found := find_writers(open_writers(volume_name), concerns, call_lives):
        folder, call = next(iter(found.items()))
        raise UserError(
            f"{folder}: expected no writer, found call {call} ({len(found)} in all), which would write it again; "
            f"stop it first: python scripts/launch.py cancel {folder.partition('/')[0]}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    require_token()
    volume = open_existing_volume(args.volume)
    others = {*languages_with_entry(), *list_folder(volume, DATA)}
    made = [] if args.folder else experiments_of(volume, args.language, others)
    if args.yes:
        require_no_writer(args.volume, args.language, args.experiments, others)
    if args.everything:
        gone = take_back_all(volume, args.language, sorted({*made, *args.experiments}), yes=args.yes)
    else:
        gone = take_back_some(volume, args)
        left = [name for name in made if name not in args.experiments]
        if gone and left:
            print("made before, with units, samples or weights of what goes; --experiments removes them:")
            print(f"  {' '.join(left)}")
        if args.experiments:
            show("experiments", args.experiments)
            gone = [*gone, *args.experiments]
            if args.yes:
                remove_folders(volume, [f"{EXP}/{name}" for name in args.experiments])
    if not gone:
        print(f"nothing to remove from the volume {args.volume}")
    elif args.yes:
        print(f"removed from the volume {args.volume}; voices that were downloaded or given on are not")
    else:
        print("nothing was removed; --yes removes it")


if __name__ == "__main__":
    run_main(main)
