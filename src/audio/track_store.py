"""Numbers of every recording of a corpus in 64 files that are read in place: its F0, or who speaks in it.

No file a recording, no memory that grows with the hours. A recording belongs to the bucket that the hash of its id
says. A bucket is one file of two arrays, the index (sorted by key) and the numbers of all its recordings. It is
replaced as a whole, under a lock, so that a kill leaves the old one or the new one.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import load_audio
from core.files import write_atomically
from core.locks import lock_of, only_one
from core.packed_files import file_state, is_file, name_key

N_BUCKETS = 64
SUFFIX = ".f0"  # whatever the numbers are: F0 came first
TASK_RECORDINGS = 1000  # of one bucket: what a kill can cost a process
PATIENCE = 6 * 3600.0  # s, for which a process waits while another fills the same bucket
ENTRY = np.dtype([("key", "u8"), ("start", "i8"), ("n_frames", "i8"), ("n_bytes", "i8"), ("made_ns", "i8")])
# n_bytes: the size of the audio file; made_ns: when it was heard. A file that changed later is heard again.


class Bucket(NamedTuple):
    """An open bucket."""

    index: np.ndarray  # (R,) of ENTRY, by key
    frames: np.ndarray  # (all frames,) float32, mapped: F0 in Hz, or the numbers of vectors


EMPTY = Bucket(np.zeros(0, ENTRY), np.zeros(0, np.float32))


def bucket_file(store: Path, key: int) -> Path:
    return store / f"{key % N_BUCKETS:02d}{SUFFIX}"


def has_tracks(store: Path) -> bool:
    return any(store.glob(f"*{SUFFIX}"))


def open_bucket(path: Path) -> Bucket:
    """The bucket as it is now; an empty one where there is no file yet, or a damaged one, which is filled again."""
    try:
        state = os.stat(path)
        return _map_bucket(str(path), state.st_mtime_ns, state.st_ino)
    except (FileNotFoundError, ValueError, KeyError, EOFError):
        return EMPTY


@functools.lru_cache(maxsize=2 * N_BUCKETS)
def _map_bucket(path: str, changed: int, inode: int) -> Bucket:
    """``changed``, ``inode``: what tells the versions of a file apart."""
    with open(path, "rb") as file:
        return Bucket(_map_next(file), _map_next(file))


def _map_next(file) -> np.ndarray:  # noqa: ANN001 - an open binary file
    """The next array of a file of several, mapped and not read."""
    version = np.lib.format.read_magic(file)
    header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
    shape, _, dtype = header(file)
    start, n_bytes = file.tell(), int(np.prod(shape)) * dtype.itemsize
    file.seek(start + n_bytes)
    if not n_bytes:
        return np.zeros(shape, dtype)
    return np.memmap(file.name, dtype, "r", start, shape)


def find_rows(bucket: Bucket, keys: np.ndarray) -> np.ndarray:
    """(R,) rows of the index that hold ``keys`` (R,) uint64; -1 where there is none."""
    known = bucket.index["key"]
    if not len(known):
        return np.full(len(keys), -1)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, places, -1)


def count_stored_frames(store: Path, keys: np.ndarray) -> np.ndarray:
    """(R,) numbers that are stored of each of ``keys`` (R,) uint64; -1 where there is nothing."""
    lengths = np.full(len(keys), -1, np.int64)
    for number in range(N_BUCKETS):
        here = np.flatnonzero(keys % N_BUCKETS == number)
        bucket = open_bucket(bucket_file(store, number))
        rows = find_rows(bucket, keys[here])
        lengths[here[rows >= 0]] = bucket.index["n_frames"][rows[rows >= 0]]
    return lengths


def read_track(store: Path, name: str) -> np.ndarray | None:
    """(F,) float32 of one recording, mapped and not read; None where there is none."""
    key = name_key(name)
    bucket = open_bucket(bucket_file(store, key))
    row = int(find_rows(bucket, np.array([key], np.uint64))[0])
    if row < 0:
        return None
    start, n_frames = int(bucket.index["start"][row]), int(bucket.index["n_frames"][row])
    return bucket.frames[start : start + n_frames]


def is_stored(store: Path, name: str, audio: Path) -> bool:
    """Whether there is something, computed from the file as it is. FileNotFoundError where there is no such file."""
    key, (n_bytes, changed_ns) = name_key(name), file_state(audio)
    bucket = open_bucket(bucket_file(store, key))
    row = int(find_rows(bucket, np.array([key], np.uint64))[0])
    if row < 0:
        return False
    entry = bucket.index[row]
    return entry["n_bytes"] == n_bytes and entry["made_ns"] >= changed_ns


def find_missing(store: Path, recordings: Iterable[tuple[str, Path]]) -> list[tuple[str, str]]:
    """The (id, audio path) pairs of which nothing is stored, or something from older audio."""
    return [(name, str(audio)) for name, audio in recordings if not (is_file(audio) and is_stored(store, name, audio))]


def cut_tasks(recordings: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The recordings of each bucket, at most TASK_RECORDINGS together."""
    buckets: dict[int, list[tuple[str, str]]] = {}
    for name, audio in recordings:
        buckets.setdefault(name_key(name) % N_BUCKETS, []).append((name, audio))
    return [
        bucket[start : start + TASK_RECORDINGS]
        for _, bucket in sorted(buckets.items())
        for start in range(0, len(bucket), TASK_RECORDINGS)
    ]


def fill_some(store: Path, measure: Callable[[np.ndarray], np.ndarray], recordings: list[tuple[str, str]]) -> int:
    """``measure`` recordings of one bucket, (S,) -> (F,); what was computed before one that cannot be read is kept."""
    tracks, number = [], name_key(recordings[0][0]) % N_BUCKETS
    try:
        for name, audio in recordings:
            read_at, waveform = time.time_ns(), load_audio(Path(audio))
            tracks.append((name, file_state(audio)[0], read_at, measure(waveform)))
    finally:
        if tracks:
            add_tracks(store, number, tracks)
    return len(tracks)


def add_tracks(store: Path, number: int, tracks: Sequence[tuple[str, int, int, np.ndarray]]) -> None:
    """Put (id, bytes of the audio, when it was read in ns, (F,)) into bucket ``number``, in place of older ones."""
    path = bucket_file(store, number)
    store.mkdir(parents=True, exist_ok=True)
    with _held(path):
        write_bucket(path, *_merge(open_bucket(path), tracks))


def _held(path: Path) -> AbstractContextManager[None]:
    return only_one(lock_of(path), patience=PATIENCE, busy=f"{path}: another process has been writing it for hours")


def keep_tracks(store: Path, keys: np.ndarray) -> None:
    """Write every bucket that holds anything else than ``keys`` (R,) uint64 again, without it."""
    for number in range(N_BUCKETS):
        path = bucket_file(store, number)
        if np.isin(open_bucket(path).index["key"], keys).all():
            continue
        with _held(path):
            bucket = open_bucket(path)
            kept = bucket._replace(index=bucket.index[np.isin(bucket.index["key"], keys)])
            write_bucket(path, *_merge(kept, []))


def _merge(
    bucket: Bucket, tracks: Sequence[tuple[str, int, int, np.ndarray]]
) -> tuple[np.ndarray, Iterable[np.ndarray]]:
    """The index sorted by key, and the tracks in its order."""
    fresh = {name_key(name): (n_bytes, made, track) for name, n_bytes, made, track in tracks}
    kept = bucket.index[~np.isin(bucket.index["key"], np.array(list(fresh), np.uint64))]
    index = np.zeros(len(kept) + len(fresh), ENTRY)
    index[: len(kept)] = kept
    for row, (key, (n_bytes, made, track)) in enumerate(fresh.items(), len(kept)):
        index[row] = (key, -1, len(track), n_bytes, made)
    index = index[np.argsort(index["key"], kind="stable")]
    old_starts = index["start"].copy()
    index["start"] = np.cumsum(index["n_frames"]) - index["n_frames"]

    def in_order() -> Iterable[np.ndarray]:
        for entry, old in zip(index, old_starts):
            yield fresh[int(entry["key"])][2] if old < 0 else bucket.frames[old : old + entry["n_frames"]]

    return index, in_order()


def write_bucket(path: Path, index: np.ndarray, tracks: Iterable[np.ndarray]) -> None:
    """The file of a bucket: its index, then ``tracks`` one after the other."""
    description = {"descr": "<f4", "fortran_order": False, "shape": (int(index["n_frames"].sum()),)}

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out:
            np.lib.format.write_array(out, index, version=(1, 0), allow_pickle=False)
            np.lib.format.write_array_header_1_0(out, description)
            for track in tracks:
                out.write(np.ascontiguousarray(track, "<f4").tobytes())

    write_atomically(path, write)
