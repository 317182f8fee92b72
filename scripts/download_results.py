"""Fetch results from the Modal volume into modal_downloads/: a run's whole folder, or some of it.

    python scripts/download_results.py satere_vocoder_v4
    python scripts/download_results.py satere_vocoder_v4 --only checkpoints/best.pt config.json scores.json
    python scripts/download_results.py --list

Wraps modal volume get. Each folder is fetched next to its place and moved there once it is whole, so what lies in
modal_downloads/exp/<name> is never half a run.
More: docs/launching.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from languages import REPOSITORY
from launching.job import PLAIN_NAME
from launching.modal_account import default_volume, require_token

DOWNLOADS = REPOSITORY / "modal_downloads"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders below exp/ of the volume")
    group = parser.add_argument_group("download")
    group.add_argument("--list", action="store_true", help="print what lies below exp/ of the volume")
    group.add_argument(
        "--only", nargs="+", default=[], metavar="PATH", help="these files and folders of each NAME only"
    )
    group.add_argument("--out", type=Path, default=DOWNLOADS, help="folder to write exp/NAME to")
    group.add_argument(
        "--overwrite", action="store_true", help="replace what was fetched before, once the new is whole"
    )
    group.add_argument("--volume", default=default_volume(), help="the volume; ORAL_UNITS_VOLUME sets it too")
    args = parse_flags(parser, argv)
    if not args.names and not args.list:
        raise UserError("expected the NAME of a run, as in: python scripts/download_results.py satere_vocoder_v4")
    for name in args.names:
        if not PLAIN_NAME.fullmatch(name):
            raise UserError(f"{name}: expected the name of a folder below exp/, as in satere_vocoder_v4")
    for path in args.only:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise UserError(f"--only {path}: expected a path inside the run, as in checkpoints/best.pt")
    return args


def volume_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "modal", "volume", *map(str, words)]


def run_volume(command: list[str]) -> None:
    """Run the client; its own message stands above ours where it fails."""
    code = subprocess.run(command, check=False).returncode
    if code:
        raise UserError(f"{' '.join(command[2:])}: exit code {code}; its message is above; --list shows what is there")


def fetch_run(name: str, only: Sequence[str], out: Path, volume: str, *, overwrite: bool) -> Path:
    """Fetch exp/``name``, or ``only`` some of it, and move it into place once it is whole; returns the place.

    Of a run that was fetched before, ``only`` replaces what it names and leaves the rest.
    """
    place, partial = out / "exp" / name, out / "exp" / f".{name}.partial"
    for path in only or ["."]:
        if (place / path).exists() and not overwrite:
            raise UserError(f"{place / path}: exists already; --overwrite replaces it, --out names another folder")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path in only or [""]:
            target = (partial / name / path).parent
            target.mkdir(parents=True, exist_ok=True)
            run_volume(volume_command("get", volume, f"exp/{name}/{path}".rstrip("/"), target))
        for path in only or ["."]:
            replace_path(partial / name / path, place / path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place


def replace_path(new: Path, place: Path) -> None:
    """Move ``new``, a file or folder, to ``place``; what is there goes first."""
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(new, place)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    require_token()
    if args.list:
        run_volume(volume_command("ls", args.volume, "exp"))
    for name in args.names:
        place = fetch_run(name, args.only, args.out, args.volume, overwrite=args.overwrite)
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        print(f"wrote {place}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_main(main)
