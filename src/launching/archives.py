"""Many small files as a few large archives: cut where adding files moves few cuts, named after what they hold."""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.errors import UserError
from core.files import hash_files, read_json, safe_members, write_atomically, write_json

FILES_PER_ARCHIVE = 2000  # on average: some 600 MB of ten-second segments
MAX_ARCHIVE_BYTES = 1 << 30
NAME_DIGITS = 20
MARK = ".done"  # beside an archive's place: its files are on the volume


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
    """``n_files`` files below ``root``; UserError for an archive that is damaged, short, or leaves ``root``.

    Files get the time of their arrival, so that what was computed from older ones is seen to be old. One that is there
    with the same bytes keeps its time.
    """
    try:
        with tarfile.open(path) as archive:
            members = safe_members(archive, root)
            if len(members) != n_files:  # tarfile takes one that was cut between two files for whole
                raise UserError(f"{path}: expected {n_files} files, found {len(members)}; upload it again")
            for member in members:
                _write_where_different(root / member.name, archive.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: expected a whole archive of segments, found: {error}; upload it again") from error


def _write_where_different(path: Path, content: bytes) -> None:
    there = path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
    if not there:
        write_atomically(path, lambda temporary: temporary.write_bytes(content))


def mark_unpacked(mark: Path, names: Sequence[str]) -> None:
    """Note that the files of an archive lie on the volume as the archive holds them."""
    write_json(mark, {"files": len(names), "names": [*names]})


def forget_archives(marks: Path, names: Iterable[str]) -> int:
    """Remove the marks of all archives, of any data, that hold one of the files ``names``; returns their number.

    Whoever writes or removes files on the volume calls this first, so that a mark never speaks of what is no more. A
    mark of older versions does not say what it stands for, and goes too.
    """
    changed, n_forgotten = set(names), 0
    for path in sorted(marks.glob(f"*/*{MARK}")):
        held = read_json(path).get("names")
        if held is None or not changed.isdisjoint(held):
            path.unlink()
            n_forgotten += 1
    return n_forgotten


def plan_upload(groups: dict[str, list[str]], present: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """What is left to do: groups to pack and upload (by archive name), and archives uploaded but not unpacked.

    present: file names in the folder of archives, ``<name>.tar`` for an uploaded one, ``<name>.done`` for an unpacked.
    """
    there = set(present)
    todo = {name: group for name, group in groups.items() if name + MARK not in there}
    uploaded = [name for name in todo if f"{name}.tar" in there]
    return {name: group for name, group in todo.items() if name not in uploaded}, uploaded


def stale_archives(groups: dict[str, list[str]], present: Sequence[str]) -> list[str]:
    """Archives (file names) of an upload that broke off, of files that are no longer as they were."""
    return sorted(name for name in present if name.endswith(".tar") and name.removesuffix(".tar") not in groups)
