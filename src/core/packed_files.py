"""Files inside tar files: a corpus of a million clips is a thousand files, and a clip is read without unpacking.

``spanish/packed/segments-000003.tar/clip.wav`` is the member ``clip.wav`` of that tar. The tars are in webdataset's
form (Aizman, Maltby & Breuel 2019): plain tar files whose members of one name and several suffixes belong together.
Where ``packed/remote.txt`` names an address that fsspec knows (s3://…, gs://…, memory://…), tars that do not lie here
are read from there.
"""

import errno
import functools
import hashlib
import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, NamedTuple

import numpy as np

from core.arrays import read_array, write_array
from core.errors import UserError

MARK = ".tar/"
INDEX = ".index.npy"  # beside each tar; without it the tar is read through once
REMOTE = "remote.txt"
MEMBER = np.dtype([("key", "u8"), ("start", "i8"), ("n_bytes", "i8")])  # sorted by key


class Member(NamedTuple):
    """Where the bytes of a file in a tar lie."""

    tar: Path
    start: int
    n_bytes: int


def is_packed(path: Path | str) -> bool:
    """Whether a path names a file inside a tar."""
    return MARK in os.fspath(path)


def find_member(path: Path | str) -> Member | None:
    """Where a packed file lies; None where the tar has no such member. UserError where there is no such tar."""
    tar, _, name = os.fspath(path).partition(MARK)
    tar = Path(tar + MARK.rstrip("/"))
    index = _read_index(str(tar), *_version(tar))
    key = np.uint64(name_key(name))
    row = int(np.searchsorted(index["key"], key))
    if row == len(index) or index["key"][row] != key:
        return None
    return Member(tar, int(index["start"][row]), int(index["n_bytes"][row]))


def name_key(name: str) -> int:
    """A 64-bit key of a name, for tables of millions; five million names collide once in a million corpora."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _version(tar: Path) -> tuple[int, int]:
    """What changes with a tar; (0, 0) of one that lies elsewhere."""
    try:
        state = os.stat(tar)
    except FileNotFoundError as error:
        if _remote_folder(str(tar.parent)):
            return 0, 0
        raise UserError(
            f"{tar}: expected the tar file with this audio, found none; copy it here, or name its address in "
            f"{tar.parent / REMOTE}"
        ) from error
    return state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=65536)  # 24 bytes a member
def _read_index(tar: str, size: int, changed: int) -> np.ndarray:
    """(members,) of ``MEMBER``; ``size``, ``changed``: of the tar."""
    kept = index_file(Path(tar))
    if kept.exists():
        index = read_index(kept)
        if index is None:
            raise UserError(f"{kept}: expected the index of {Path(tar).name}, found something else; delete it")
        if size and end_of(index) > size:
            raise UserError(f"{tar}: expected {end_of(index)} bytes, as its index says, found {size}; copy it again")
        return index
    if not size:
        raise UserError(f"{kept}: expected the index of a tar that lies elsewhere, found none; pack the audio again")
    return scan_tar(Path(tar))


def read_index(path: Path) -> np.ndarray | None:
    """(members,) of ``MEMBER``; None where the file is damaged, or holds something else."""
    try:
        index = read_array(path)
    except ValueError:
        return None
    return index if index.dtype == MEMBER and index.ndim == 1 else None


def end_of(index: np.ndarray) -> int:
    """The byte after the last member."""
    return int((index["start"] + index["n_bytes"]).max(initial=0))


def index_file(tar: Path) -> Path:
    return tar.with_name(tar.name.removesuffix(".tar") + INDEX)


def scan_tar(tar: Path) -> np.ndarray:
    """(members,) of ``MEMBER``: the plain files of a tar, found by reading its headers."""
    try:
        with tarfile.open(tar, "r:") as opened:
            found = [(name_key(one.name), one.offset_data, one.size) for one in opened if one.isfile()]
    except tarfile.TarError as error:
        raise UserError(f"{tar}: expected a plain tar file, found: {error}; pack the audio again") from error
    return np.sort(np.array(found, MEMBER), order="key")


def write_index(tar: Path, index: np.ndarray) -> None:
    write_array(index_file(tar), index)


def is_file(path: Path | str) -> bool:
    """Whether there is such a file, in a tar or by itself."""
    if not is_packed(path):
        return os.path.isfile(path)
    try:
        return find_member(path) is not None
    except UserError:
        return False


def file_state(path: Path | str) -> tuple[int, int]:
    """Bytes and time of change (ns) of a file; in a tar, the tar's time, 0 where that lies elsewhere.

    Raises FileNotFoundError where there is none.
    """
    if not is_packed(path):
        state = os.stat(path)
        return state.st_size, state.st_mtime_ns
    if not is_file(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    member = find_member(path)
    return member.n_bytes, _version(member.tar)[1]


def stored_in(path: str) -> str:
    """The file on disk that holds ``path``: the tar of a packed one, else itself."""
    return path.partition(MARK)[0] + MARK.rstrip("/") if is_packed(path) else path


def _require_member(path: Path | str) -> Member:
    member = find_member(path)
    if member is None:
        raise UserError(f"{path}: expected an audio file in this tar, found none; pack the audio again")
    return member


def read_packed(path: Path | str) -> bytes:
    """The content of a packed file."""
    member = _require_member(path)
    return _read_range(member.tar, member.start, member.n_bytes)


def open_packed(path: Path | str) -> BinaryIO:
    """A packed file as an open one, of which only what is asked for is read."""
    member, place = _require_member(path), [0]

    def read(n_bytes: int = -1) -> bytes:
        left = member.n_bytes - place[0]
        taken = left if n_bytes < 0 else min(n_bytes, left)
        content = _read_range(member.tar, member.start + place[0], taken) if taken > 0 else b""
        place[0] += len(content)
        return content

    def seek(offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: place[0], io.SEEK_END: member.n_bytes}[whence]
        place[0] = max(0, base + offset)
        return place[0]

    return SimpleNamespace(read=read, seek=seek, tell=lambda: place[0])


def _read_range(tar: Path, start: int, n_bytes: int) -> bytes:
    if os.path.exists(tar):
        content = os.pread(_open_tar(str(tar), *_version(tar)).fileno(), n_bytes, start)
    else:
        filesystem, folder = _open_remote(_remote_folder(str(tar.parent)))
        content = filesystem.cat_file(f"{folder}/{tar.name}", start=start, end=start + n_bytes)
    if len(content) < n_bytes:
        raise UserError(f"{tar}: expected {n_bytes} bytes at {start}, found the file cut short; pack the audio again")
    return content


@functools.lru_cache(maxsize=256)
def _open_tar(tar: str, size: int, changed: int) -> BinaryIO:
    return open(tar, "rb", buffering=0)


@functools.lru_cache(maxsize=64)
def _remote_folder(folder: str) -> str:
    """The address that ``remote.txt`` names; "" where there is none."""
    note = Path(folder) / REMOTE
    return note.read_text(encoding="utf-8").strip().rstrip("/") if note.is_file() else ""


@functools.lru_cache(maxsize=8)
def _open_remote(address: str) -> tuple[object, str]:
    """The file system and the folder in it."""
    import fsspec  # comes with datasets; takes a moment to import

    try:
        return fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{REMOTE}: expected an address that fsspec opens, found {address}: {error}") from error
