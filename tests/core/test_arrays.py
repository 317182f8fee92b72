"""Arrays that somebody damaged are one kind of error, whatever numpy makes of them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

from core.arrays import read_array, read_arrays, write_array, write_arrays


class Trap:
    """What an attacker would put into a pickle."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


SOME = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_arrays_come_back_all_or_by_name(tmp_path: Path) -> None:
    write_arrays(tmp_path / "deep" / "a.npz", some=SOME, words=np.array(["ʼã"]))
    assert read_arrays(tmp_path / "deep" / "a.npz")["words"].tolist() == ["ʼã"]
    found = read_arrays(tmp_path / "deep" / "a.npz", "some")
    assert [*found] == ["some"] and np.array_equal(found["some"], SOME)


@pytest.mark.parametrize("mapped", [False, True])
def test_one_array_comes_back(tmp_path: Path, mapped: bool) -> None:
    write_array(tmp_path / "a.npy", SOME)
    found = read_array(tmp_path / "a.npy", mapped=mapped)
    assert np.array_equal(found, SOME) and isinstance(found, np.memmap) is mapped


def pickled(path: Path) -> None:
    np.savez(path, some=np.array([{"a": 1}], object))


def member_of(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("some.npy", content)

    return write


def npy(array: np.ndarray) -> bytes:
    np.save(stream := io.BytesIO(), array)
    return stream.getvalue()


DAMAGED = {
    "empty": Path.touch,
    "text": lambda path: path.write_text("centroids"),
    "half": lambda path: (np.savez(path, some=SOME), path.write_bytes(path.read_bytes()[:150])),
    "pickle": pickled,
    "one bare array": lambda path: path.write_bytes(npy(SOME)),
    "a member that is no array": member_of(b"none"),
    "a member without its header's end": member_of(npy(SOME)[:40]),
    "a member without its numbers": member_of(npy(SOME)[:-4]),
    "a header that is no Python": member_of(npy(SOME).replace(b"{'descr'", b"((((((((")),
    "another name": lambda path: np.savez(path, other=SOME),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_arrays_are_a_value_error_that_says_something(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    DAMAGED[kind](path)
    with pytest.raises(ValueError, match=r"\w"):
        read_arrays(path, "some")


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in DAMAGED if kind != "one bare array"])
def test_a_damaged_array_is_a_value_error_that_says_something(kind: str, mapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    DAMAGED[kind](tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(path)
    with pytest.raises(ValueError, match=r"\w"):
        read_array(path, mapped=mapped)


def test_no_file_is_the_systems_error(tmp_path: Path) -> None:
    for read in (read_array, read_arrays):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.npz")


def test_nothing_in_an_array_can_run(tmp_path: Path) -> None:
    trapped = np.array([Trap(tmp_path / "sprung")], object)
    np.save(tmp_path / "a.npy", trapped, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=trapped)
    for read, path in ((read_array, tmp_path / "a.npy"), (read_arrays, tmp_path / "a.npz")):
        with pytest.raises(ValueError, match="allow_pickle"):
            read(path)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "b.npy", trapped)
    with pytest.raises(ValueError, match="b: expected numbers or words, found objects"):
        write_arrays(tmp_path / "b.npz", b=trapped)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.npz"]
