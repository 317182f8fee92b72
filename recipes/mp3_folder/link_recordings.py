"""Make a user's folder of recordings the ``raw`` folder of a language, by a link: nothing is copied or changed."""

import argparse
import filecmp
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import parse_flags, run_main
from core.errors import UserError
from languages import add_language_flags, language_paths
from segmentation.folder_survey import describe_ignored, survey_folder
from segmentation.tables import TABLE_NAMES, TABLE_SUFFIXES, find_table


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_language_flags(parser)
    parser.add_argument("--folder", type=Path, required=True, help="folder of recordings, nested")
    return parse_flags(parser, argv)


def link_folder(folder: Path, raw: Path) -> None:
    """Let ``raw`` be a link to ``folder``; a real folder of other recordings there is never touched."""
    if folder.resolve() == raw.resolve():
        return
    if raw.is_symlink():
        raw.unlink()
    elif raw.exists():
        if any(raw.iterdir()):
            raise UserError(
                f"{raw}: holds recordings already, expected none or a link; move them away, or add yours there"
            )
        raw.rmdir()
    raw.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(folder.resolve(), raw, target_is_directory=True)
    except OSError as error:
        raise UserError(
            f"{raw}: expected a drive that knows links, found one that does not ({error.strerror}); copy the "
            "recordings into that folder, or set DATA_ROOT to a folder on another drive"
        ) from error


def copy_tables(folder: Path, paths: dict[str, Path]) -> list[str]:
    """Copy the tables of texts and speakers, where ``folder`` holds them, to where segment_audio.py reads them.

    A table there that was changed later than the one in ``folder`` is somebody's work: it stays, and that is said.
    """
    found = [table for name in TABLE_NAMES if (table := find_table(folder / f"{name}.tsv"))]
    for given in found:
        earlier = [paths[given.stem].with_suffix(suffix) for suffix in TABLE_SUFFIXES]
        edited = [table for table in earlier if table.is_file() and is_edited(table, given)]
        if edited:
            print(f"{edited[0]}: changed later than {given}, kept; delete it to take that one", file=sys.stderr)
            continue
        for table in earlier:
            if not (table.exists() and table.samefile(given)):
                table.unlink(missing_ok=True)
        if not paths[given.stem].with_suffix(given.suffix).exists():
            shutil.copy2(given, paths[given.stem].with_suffix(given.suffix))
    return [table.name for table in found]


def is_edited(table: Path, given: Path) -> bool:
    return table.stat().st_mtime > given.stat().st_mtime and not filecmp.cmp(given, table, shallow=False)


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, may_be_new=True)
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: expected a folder of recordings, found none; check the path")
    survey = survey_folder(args.folder)
    if not survey.recordings:
        found = describe_ignored(survey.ignored) or "an empty folder"
        raise UserError(f"{args.folder}: expected recordings, found none ({found}); put the recordings there")
    link_folder(args.folder, paths["raw"])
    tables = copy_tables(args.folder, paths)
    print(f"{paths['raw']}: {len(survey.recordings)} recordings" + "".join(f", with {name}" for name in tables))
    return 0


if __name__ == "__main__":
    run_main(main)
