"""Numpy's files, written whole and read without pickles; whatever is wrong with one is a ValueError."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from core.files import write_atomically

# What numpy and zipfile raise for a damaged file. RuntimeError: a zip that is encrypted, or of an unknown kind.
DAMAGES = (
    *(ValueError, EOFError, TypeError, KeyError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def write_array(path: Path, array: np.ndarray) -> None:
    """One array as ``.npy``."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out:
            np.save(out, array, allow_pickle=False)

    write_atomically(path, write)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Several named arrays as ``.npz``."""
    for name, array in arrays.items():
        if array.dtype.hasobject:  # numpy before 2.1 has no allow_pickle here
            raise ValueError(f"{name}: expected numbers or words, found objects, which only a pickle holds")

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out:
            np.savez(out, **arrays)

    write_atomically(path, write)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of a ``.npy``, in memory or mapped read-only. Raises ValueError for a damaged one, else OSError."""
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except DAMAGES as error:
        raise ValueError(str(error) or "half a file") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("several arrays in place of one")
    return found


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` by name, all or some. Raises ValueError for a damaged one, else OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in names or file.files}
    except DAMAGES as error:
        raise ValueError(str(error) or "half a file") from error
    # numpy gives the bytes of a member that is no array.
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name:.40} is no array")
    return found
