"""Debian's packages as a source of recordings: fetched without root, unpacked without running anything they carry."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError

CONNECT_SECONDS = 20


def download_packages(names: Sequence[str], folder: Path) -> None:
    """``apt-get download`` the packages into ``folder``, with private package lists where the machine's do not do."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise UserError("apt-get or dpkg is not on this machine")
    try:
        run_command(["apt-get", "download", *names], folder)
    except UserError:
        private = _private_apt_flags(folder)
        # A foreign source that does not answer fails the update as a whole; the download shows whether ours did.
        subprocess.run(["apt-get", *private, "update"], cwd=folder, check=False, capture_output=True)
        run_command(["apt-get", *private, "download", *names], folder)


def unpack_package(package: Path, folder: Path) -> None:
    """``dpkg -x``: the files of a .deb into ``folder``; none of its scripts run."""
    run_command(["dpkg", "-x", str(package), str(folder)], folder)


def _private_apt_flags(folder: Path) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": CONNECT_SECONDS,
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def run_command(command: list[str], folder: Path) -> None:
    """Run ``command`` in ``folder``. Raises UserError with its last line where it fails."""
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command[:1] + command[-3:])}: {last}")
