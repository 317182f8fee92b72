"""Put a language's segments on the Modal volume: a few large archives, unpacked there.

    python -m modal run scripts/upload_to_modal.py --language satere
    python scripts/upload_to_modal.py --language satere        (the same; checks the data and the token first)

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
from pathlib import Path, PurePosixPath

import modal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.exit_codes import EXIT_USER_MISTAKE
from core.files import write_json
from languages import data_root, language_paths, resolve_in
from launching.archives import archive_name, cut_archives, plan_upload, unpack_archive, write_archive
from launching.modal_account import APP, MOUNT, VOLUME, require_token
from launching.modal_image import build_image
from segmentation.manifest import read_manifest
from segmentation.tables import TABLE_NAMES, TABLE_SUFFIXES

ARCHIVES = ".archives"
TABLES = (
    *(f"{name}{suffix}" for name in TABLE_NAMES for suffix in TABLE_SUFFIXES),
    "segmentation.json",
    "splits.json",
    "segments.jsonl",
)

app = modal.App(f"{APP}-upload")
volume = modal.Volume.from_name(VOLUME, create_if_missing=True)
image = build_image()


@app.function(image=image, volumes={str(MOUNT): volume}, timeout=3 * 3600, cpu=2.0, retries=3)
def unpack(language: str, name: str, n_files: int) -> int:
    """Unpack one archive of ``n_files`` under data/, note it as done, and remove it."""
    volume.reload()
    folder = Path(MOUNT) / "data" / ARCHIVES / language
    archive = folder / f"{name}.tar"
    unpack_archive(archive, Path(MOUNT) / "data", n_files)
    volume.commit()  # the files are safe before anything says so
    write_json(folder / f"{name}.done", {"files": n_files})
    archive.unlink()
    volume.commit()
    return n_files


def find_segments(language: str) -> list[tuple[str, int]]:
    """(path below DATA_ROOT, bytes) of every segment of the manifest; UserError where one is missing."""
    found = []
    for row in read_manifest(language_paths(language)["manifest"]):
        path = resolve_in(data_root(), row["audio"])
        if not path.is_file():
            raise UserError(f"{path}: expected the segment {row['id']}, found none; run scripts/segment_audio.py again")
        found.append((row["audio"], path.stat().st_size))
    return found


def list_archives(language: str) -> list[str]:
    try:
        entries = volume.listdir(f"data/{ARCHIVES}/{language}")
    except modal.exception.NotFoundError:
        return []
    return [PurePosixPath(entry.path).name for entry in entries]


def upload_segments(language: str, groups: dict[str, list[str]], present: list[str]) -> tuple[int, int]:
    """Pack, upload and unpack what is not there, one archive at a time; returns (archives, files)."""
    todo, uploaded = plan_upload(groups, present)
    n_files = sum(unpack.remote(language, name, len(groups[name])) for name in uploaded)
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, names) in enumerate(todo.items(), start=1):
            archive = Path(scratch) / f"{name}.tar"
            write_archive(archive, data_root(), names)
            megabytes = archive.stat().st_size / 1e6
            print(f"archive {number} of {len(todo)}: {len(names)} files, {megabytes:.0f} MB", flush=True)
            with volume.batch_upload(force=True) as batch:
                batch.put_file(archive, f"data/{ARCHIVES}/{language}/{archive.name}")
            archive.unlink()
            n_files += unpack.remote(language, name, len(names))
    return len(todo) + len(uploaded), n_files


def upload_tables(language: str) -> list[str]:
    data = language_paths(language)["data"]
    found = [data / name for name in TABLES if (data / name).is_file()]
    with volume.batch_upload(force=True) as batch:
        for path in found:
            batch.put_file(path, f"data/{path.relative_to(data_root()).as_posix()}")
    return [path.name for path in found]


def upload(language: str, *, again: bool) -> None:
    segments = find_segments(language)
    n_bytes = sum(size for _, size in segments)
    print(f"{language}: {len(segments)} segments, {n_bytes / 1e9:.2f} GB, to the volume {VOLUME}", flush=True)
    groups = {archive_name(data_root(), names): names for names in cut_archives(segments)}
    n_archives, n_files = upload_segments(language, groups, [] if again else list_archives(language))
    tables = upload_tables(language)
    print(f"uploaded {n_archives} of {len(groups)} archives ({n_files} files), then {', '.join(tables)}")
    print(f"next: python -m modal run --detach scripts/modal_run.py::phase1 --language {language} --gpu L4")


@app.local_entrypoint()
def main(language: str = "", again: bool = False) -> None:
    """--language X: upload its segments; --again: also those that are noted as done."""
    try:
        language_paths(language)
        upload(language, again=again)
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
    parser.add_argument("--again", action="store_true", help="upload what is noted as done, too")
    return parse_flags(parser, argv)


def hand_to_client() -> None:
    """Run by itself, the script checks data and token at once, then becomes ``modal run`` of ``main``."""
    args = parse_args()
    find_segments(args.language)
    require_token()
    words = ["--language", args.language, *(["--again"] if args.again else [])]
    os.execv(sys.executable, [sys.executable, "-m", "modal", "run", str(Path(__file__).resolve()), *words])


if __name__ == "__main__":
    run_main(hand_to_client)
