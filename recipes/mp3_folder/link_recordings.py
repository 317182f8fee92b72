"""Make a user's folder of recordings the ``raw`` folder of a language, by a link: nothing is copied or changed."""

import argparse
import filecmp
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.files import hash_files, read_json, write_json
from core.locks import only_run
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

    What was copied is remembered by its content, not by its date. A table there that somebody changed since stays, and
    that is said; one that is gone from ``folder`` goes there too.
    """
    record = paths["cache"] / "copied_tables.json"
    copied = read_json(record) if record.is_file() else {}
    names, hashes = [], {}
    for name in TABLE_NAMES:
        given = find_table(folder / f"{name}.tsv")
        there = [table for suffix in TABLE_SUFFIXES if (table := paths[name].with_suffix(suffix)).is_file()]
        edited = [table for table in there if is_edited(table, given, copied.get(name))]
        if given and not edited:
            replace_tables(there, given, paths[name].with_suffix(given.suffix))
            names.append(given.name)
            hashes[name] = hash_files([given])
        elif given:
            print(f"{edited[0]}: was changed here, kept; delete it to take {given}", file=sys.stderr)
            names.append(given.name)
        elif name in copied and not edited:
            for table in there:
                print(f"{table}: is no longer in {folder}; removed here too", file=sys.stderr)
                table.unlink()
    if hashes != copied:
        write_json(record, hashes)
    return names


def replace_tables(there: list[Path], given: Path, target: Path) -> None:
    for table in there:
        if not table.samefile(given):
            table.unlink()
    if not target.exists():
        shutil.copy2(given, target)


def is_edited(table: Path, given: Path | None, copied: str | None) -> bool:
    """Whether ``table`` is somebody's work: neither what was copied once (its SHA-256) nor what would be now."""
    if given and filecmp.cmp(given, table, shallow=False):
        return False
    if copied:
        return hash_files([table]) != copied
    return given is None or table.stat().st_mtime > given.stat().st_mtime


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, may_be_new=True)
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: expected a folder of recordings, found none; check the path")
    survey = survey_folder(args.folder)
    if not survey.recordings:
        found = describe_ignored(survey.ignored) or "an empty folder"
        raise UserError(f"{args.folder}: expected recordings, found none ({found}); put the recordings there")
    with only_run(paths["data"]):
        link_folder(args.folder, paths["raw"])
        tables = copy_tables(args.folder, paths)
        print(f"{paths['raw']}: {len(survey.recordings)} recordings" + "".join(f", with {name}" for name in tables))
        return 0


if __name__ == "__main__":
    run_main(main)
