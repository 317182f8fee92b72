"""A volume of Modal as a folder of this machine, with what its client 1.6 does to the names and errors of a caller."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import modal
from modal.types import FileEntry, FileEntryType


def open_fake_volume(mount: Path) -> SimpleNamespace:
    """``mount`` is the volume's folder, ``log`` what was put on it, ``fail_at`` breaks an upload off after so many."""

    def put_file(local: Path, remote: str) -> None:
        if len(volume.log) == volume.fail_at:
            raise ConnectionError("no network")
        volume.log.append(remote)
        (mount / remote).parent.mkdir(parents=True, exist_ok=True)
        (mount / remote).write_bytes(Path(local).read_bytes())

    def listdir(path: str, *, recursive: bool = False) -> list[FileEntry]:
        if not (mount / path).exists():
            raise modal.exception.NotFoundError(f"No such file or directory: {path}")
        found = sorted((mount / path).rglob("*") if recursive else (mount / path).iterdir())
        return [_describe(mount, entry) for entry in found]

    def read_file(path: str) -> Iterator[bytes]:
        if not (mount / path).is_file():
            raise FileNotFoundError(path)
        yield (mount / path).read_bytes()

    def remove_file(path: str, recursive: bool = False) -> None:
        if not (mount / path).exists():
            raise FileNotFoundError(path)
        if (mount / path).is_file():
            (mount / path).unlink()
        elif recursive:
            shutil.rmtree(mount / path)
        else:
            raise modal.exception.InvalidError(f"{path} is a directory")

    volume = SimpleNamespace(
        mount=mount,
        log=[],
        fail_at=None,
        listdir=listdir,
        read_file=read_file,
        remove_file=remove_file,
        batch_upload=lambda force: contextlib.nullcontext(SimpleNamespace(put_file=put_file)),
        reload=lambda: None,
        commit=lambda: None,
    )
    return volume


def _describe(mount: Path, path: Path) -> FileEntry:
    state = path.stat()
    kind = FileEntryType.DIRECTORY if path.is_dir() else FileEntryType.FILE
    return FileEntry(path.relative_to(mount).as_posix(), kind, int(state.st_mtime), state.st_size)
