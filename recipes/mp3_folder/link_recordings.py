"""Make a user's folder of recordings the ``raw`` folder of a language, by a link: nothing is copied or changed."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.locks import only_run
from languages import add_language_flags, language_paths
from segmentation.copied_tables import copy_tables
from segmentation.folder_survey import describe_ignored, survey_folder


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_language_flags(parser)
    parser.add_argument("--folder", type=Path, required=True, help="folder of recordings, nested")
    parser.add_argument("--overwrite", action="store_true", help="replace the recordings of another folder")
    return parse_flags(parser, argv)


def refuse_other_recordings(folder: Path, paths: dict[str, Path]) -> None:
    """UserError where the language has been cut from recordings that are not those of ``folder``."""
    raw, segments = paths["raw"], paths["segments"]
    cut = paths["manifest"].exists() or (segments.is_dir() and any(segments.iterdir()))
    if not cut or folder.resolve() == raw.resolve() or (raw.exists() and not raw.is_symlink()):
        return
    if raw.exists():
        found = f"{len(survey_folder(raw).recordings)} in {raw.resolve()}"
    elif raw.is_symlink():
        found = f"from {os.readlink(raw)}, which is not there now"
    else:
        found = f"segments without {raw}"
    raise UserError(
        f"{paths['data']}: holds other recordings ({found}); take another name, or add --overwrite to replace them"
    )


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


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, may_be_new=True)
    if args.folder.is_file():
        raise UserError(f"{args.folder}: expected a folder of recordings, found a file; name the folder that holds it")
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: there is no such folder; check the path, and quote one with spaces")
    survey = survey_folder(args.folder)
    if not survey.recordings:
        found = describe_ignored(survey.ignored) or "an empty folder"
        raise UserError(f"{args.folder}: expected recordings, found none ({found}); put the recordings there")
    if not args.overwrite:
        refuse_other_recordings(args.folder, paths)
    with only_run(paths["data"]):
        link_folder(args.folder, paths["raw"])
        tables = copy_tables(args.folder, paths)
        print(f"{paths['raw']}: {len(survey.recordings)} recordings" + "".join(f", with {name}" for name in tables))
        return 0


if __name__ == "__main__":
    run_main(main)
