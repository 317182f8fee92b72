"""Many small files as a few large archives: cut where adding files moves few cuts, named after what they hold."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.files import hash_files, unpack_tar, write_atomically

FILES_PER_ARCHIVE = 2000  # on average: some 600 MB of ten-second segments
MAX_ARCHIVE_BYTES = 1 << 30
NAME_DIGITS = 20


def cut_archives(
    files: Sequence[tuple[str, int]], *, n_files: int = FILES_PER_ARCHIVE, max_bytes: int = MAX_ARCHIVE_BYTES
) -> list[list[str]]:
    """Group (name, bytes) into lists of names, in the order of names.

    One name in ``n_files`` ends its group, by its hash, so that a file more or less changes only the group it is in;
    ``max_bytes`` ends a group before.
    """
    groups, size = [[]], 0
    for name, n_bytes in sorted(files):
        if groups[-1] and size + n_bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += n_bytes
        if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % n_files == 0:
            groups.append([])
            size = 0
    return [group for group in groups if group]


def archive_name(root: Path, names: Sequence[str]) -> str:
    """A hash over names and contents: the same files have the same name on every machine."""
    digest = hashlib.sha256("\n".join(names).encode())
    digest.update(hash_files(root / name for name in names).encode())
    for name in names:  # where one file ends and the next begins
        digest.update(f"\n{(root / name).stat().st_size}".encode())
    return digest.hexdigest()[:NAME_DIGITS]


def write_archive(path: Path, root: Path, names: Sequence[str]) -> None:
    """A plain tar, the same bytes for the same files: speech in PCM hardly shrinks, and owners and times stay here."""

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in names:
                content = (root / name).read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    write_atomically(path, write)


def unpack_archive(path: Path, root: Path, n_files: int) -> None:
    """``n_files`` files below ``root``; UserError for an archive that is damaged, short, or leaves ``root``."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            unpack_tar(archive, root)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: expected a whole archive of segments, found: {error}; upload it again") from error
    if len(members) != n_files:  # tarfile takes one that was cut between two files for whole
        raise UserError(f"{path}: expected {n_files} files, found {len(members)}; upload it again")


def plan_upload(groups: dict[str, list[str]], present: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """What is left to do: groups to pack and upload (by archive name), and archives uploaded but not unpacked.

    present: file names in the folder of archives, ``<name>.tar`` for an uploaded one, ``<name>.done`` for an unpacked.
    """
    there = set(present)
    todo = {name: group for name, group in groups.items() if f"{name}.done" not in there}
    uploaded = [name for name in todo if f"{name}.tar" in there]
    return {name: group for name, group in todo.items() if name not in uploaded}, uploaded
