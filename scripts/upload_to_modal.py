"""Put a language's segments on the Modal volume, or a folder of transcribed speech: as a few archives, unpacked there.

    python -m modal run scripts/upload_to_modal.py --language satere
    python scripts/upload_to_modal.py --language satere        (the same; checks the data and the token first)
    python scripts/upload_to_modal.py --folder data/how2       (what src/trainer_base.py --data reads)

What the volume holds already is skipped: an upload that broke off continues, and new recordings cost only their
archives.
The tables (segments.jsonl and its like) follow last: they never name a segment that is not there. Raw recordings stay
here. More: docs/launching.md.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import modal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.exit_codes import EXIT_USER_MISTAKE
from launching.archives import (
    MARK,
    archive_name,
    cut_archives,
    forget_archives,
    mark_unpacked,
    plan_upload,
    stale_archives,
    unpack_archive,
    write_archive,
)
from launching.modal_account import APP, MOUNT, VOLUME, default_volume, require_token
from launching.modal_image import build_image
from launching.modal_volume import (
    ARCHIVES,
    DATA,
    archive_folder,
    list_folder,
    put_tables,
    remove_files,
    unnamed_files,
)
from launching.upload_sources import UploadSource, folder_source, language_source

app = modal.App(f"{APP}-upload")
image = build_image()


@app.function(
    image=image,
    volumes={str(MOUNT): modal.Volume.from_name(VOLUME, create_if_missing=True)},
    timeout=3 * 3600,
    cpu=2.0,
    retries=3,
)
def unpack(volume_name: str, folder: str, name: str, names: list[str]) -> int:
    """Unpack one archive of the files ``names`` under data/, note it as done, and remove it; returns their number."""
    volume = open_volume(volume_name)
    volume.reload()
    data, marks = Path(MOUNT) / DATA, Path(MOUNT) / ARCHIVES
    own = Path(MOUNT) / archive_folder(folder)
    archive, mark = own / f"{name}.tar", own / f"{name}{MARK}"
    if not archive.exists() and mark.exists():
        return len(names)  # preempted after its work
    forget_archives(marks, names)
    volume.commit()  # before a file changes, nothing says any more that it is as it was
    unpack_archive(archive, data, len(names))
    volume.commit()  # the files are safe before anything says so
    mark_unpacked(mark, names)
    archive.unlink()
    volume.commit()
    return len(names)


def open_volume(name: str) -> modal.Volume:
    return modal.Volume.from_name(name, create_if_missing=True)


def upload_files(volume: object, volume_name: str, source: UploadSource, *, again: bool) -> tuple[int, int, int]:
    """Pack, upload and unpack what is not there, one archive at a time; returns (archives, of how many, files)."""
    groups = {archive_name(source.root, names): names for names in cut_archives(source.files)}
    place = archive_folder(source.folder)
    present = [] if again else list_folder(volume, place)
    remove_files(volume, [f"{place}/{stale}" for stale in stale_archives(groups, present)])
    todo, uploaded = plan_upload(groups, present)
    unpack_there = unpack.with_options(volumes={str(MOUNT): volume}).remote
    n_files = sum(unpack_there(volume_name, source.folder, name, groups[name]) for name in uploaded)
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, names) in enumerate(todo.items(), start=1):
            archive = Path(scratch) / f"{name}.tar"
            write_archive(archive, source.root, names)
            megabytes = archive.stat().st_size / 1e6
            print(f"archive {number} of {len(todo)}: {len(names)} files, {megabytes:.0f} MB", flush=True)
            with volume.batch_upload(force=True) as batch:
                batch.put_file(archive, f"{place}/{archive.name}")
            archive.unlink()
            n_files += unpack_there(volume_name, source.folder, name, names)
    return len(todo) + len(uploaded), len(groups), n_files


def upload(source: UploadSource, *, volume_name: str, again: bool) -> None:
    volume = open_volume(volume_name)
    n_bytes = sum(size for _, size in source.files)
    print(
        f"{source.folder}: {len(source.files)} files, {n_bytes / 1e9:.2f} GB, to the volume {volume_name}", flush=True
    )
    n_archives, n_groups, n_files = upload_files(volume, volume_name, source, again=again)
    tables = put_tables(volume, source)
    then = f", then {', '.join(tables)}" if tables else ""
    print(f"uploaded {n_archives} of {n_groups} archives ({n_files} files){then}")
    if unnamed := unnamed_files(volume, source):
        print(f"{len(unnamed)} files on the volume are no longer named here; scripts/remove_from_modal.py removes them")


def say_next(language: str, folder: str, volume_name: str) -> None:
    chosen = "" if volume_name == VOLUME else f" --volume {volume_name}"
    run = "python -m modal run --detach scripts/modal_run.py"
    if language:
        print(f"next: {run}::phase1 --language {language} --gpu L4{chosen}")
    else:
        print(f"next: {run}::main --gpu L4{chosen} -- src/trainer_base.py --data {DATA}/{folder} …")


def upload_chosen(language: str, folder: str, volume_name: str, *, again: bool) -> None:
    source = choose_source(language, folder)
    upload(source, volume_name=volume_name, again=again)
    say_next(language, source.folder, volume_name)


def choose_source(language: str | None, folder: str | Path | None) -> UploadSource:
    return folder_source(Path(folder)) if folder else language_source(language)


@app.local_entrypoint()
def main(language: str = "", folder: str = "", again: bool = False, volume: str = default_volume()) -> None:
    """Upload the segments of --language, or transcribed speech in --folder; --again: also what is noted as done."""
    try:
        upload_chosen(language, folder, volume, again=again)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_MISTAKE)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help="language of the table in src/languages.py; TRAINING_LANGUAGE sets it too",
    )
    parser.add_argument(
        "--folder", type=Path, help="instead of a language: recordings with their texts, or a data set on disk"
    )
    parser.add_argument("--again", action="store_true", help="upload what is noted as done, too")
    parser.add_argument("--volume", default=default_volume(), help="the volume; ORAL_UNITS_VOLUME sets it too")
    return parse_flags(parser, argv)


def hand_to_client() -> None:
    """Run by itself, the script checks data and token at once, then becomes ``modal run`` of ``main``."""
    args = parse_args()
    choose_source(args.language, args.folder)
    require_token()
    what = ["--folder", str(args.folder)] if args.folder else ["--language", args.language]
    words = [*what, "--volume", args.volume, *(["--again"] if args.again else [])]
    words = [sys.executable, "-m", "modal", "run", str(Path(__file__).resolve()), *words]
    os.execv(sys.executable, words)  # noqa: S606 (Modal's client, with our own words)


if __name__ == "__main__":
    run_main(hand_to_client)
