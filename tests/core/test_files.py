"""Files are whole or not there; what is damaged, foreign, or would run code is told apart."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from core.errors import UserError
from core.files import (
    hash_files,
    is_current,
    read_json,
    read_lines,
    unpack_tar,
    write_atomically,
    write_if_changed,
    write_text,
)


@pytest.mark.parametrize("failure", [ValueError("bad"), KeyboardInterrupt(), SystemExit(2)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise failure

    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(failure)):
        write_atomically(path, write)
    assert path.read_text() == "old" and [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_file_that_would_hold_the_same_keeps_its_date(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, kept in (("one", False), ("one", True), ("two", False), ("two", True), ("owt", False)):
        if path.exists():
            os.utime(path, ns=(10**9, 10**9))
        write_if_changed(path, lambda temporary, text=text: temporary.write_text(text))
        assert path.read_text() == text and (path.stat().st_mtime_ns == 10**9) == kept


def test_what_was_made_is_current_until_its_source_is_newer(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_text("")
    assert not is_current(made, source)
    made.write_text("")
    for later, current in ((-1, True), (0, True), (1, False)):
        os.utime(made, ns=(10**9, 10**9))
        os.utime(source, ns=(10**9, 10**9 + later))
        assert is_current(made, source) == current


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
    return info


def write_archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as out:
        for info in members:
            out.addfile(info, io.BytesIO(b"abc"))
    return path


@pytest.mark.parametrize(
    "bad",
    [
        member("../out.txt"),
        member("a/../../out.txt"),
        member("link", tarfile.SYMTYPE, "a.txt"),
        member("hard", tarfile.LNKTYPE, "a.txt"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda info: info.name,
)
@pytest.mark.parametrize("first", [True, False])
def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path, bad: tarfile.TarInfo, first: bool) -> None:
    good = [member("a.txt"), member("folder", tarfile.DIRTYPE), member("folder/b.txt")]
    (tmp_path / "in").mkdir()
    with tarfile.open(write_archive(tmp_path / "good.tar", *good)) as archive:
        unpack_tar(archive, tmp_path / "in")
    assert (tmp_path / "in" / "a.txt").read_text() == (tmp_path / "in" / "folder" / "b.txt").read_text() == "abc"
    (tmp_path / "refused").mkdir()
    with tarfile.open(write_archive(tmp_path / "bad.tar", *([bad, *good] if first else [*good, bad]))) as archive:
        with pytest.raises(UserError, match=f"bad.tar: {bad.name} is no plain file or folder inside the archive"):
            unpack_tar(archive, tmp_path / "refused")
    assert not [*(tmp_path / "refused").iterdir()] and not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    ("kind", "good", "bad", "wanted"),
    [(dict, {"a": 1}, [1], "a JSON object"), (list, [1], {"a": 1}, "a JSON list"), (list, [], None, "a JSON list")],
)
def test_json_of_another_kind_is_refused(tmp_path: Path, kind: type, good: object, bad: object, wanted: str) -> None:
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(good), encoding="utf-8")
    assert read_json(path, kind) == good == read_json(path, None)
    path.write_text(json.dumps(bad))
    assert read_json(path, None) == bad
    with pytest.raises(UserError, match=f"a.json: expected {wanted}, found "):
        read_json(path, kind)


def test_lines_have_their_numbers_and_what_is_no_utf8_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffñ\nb\n\nd".encode())
    assert list(read_lines(path)) == [(1, "ñ\n"), (2, "b\n"), (3, "\n"), (4, "d")]
    for n_good in (0, 3):
        # Python decodes 8 kB at a time.
        path.write_bytes(b"good\n" * n_good + b"x" * 20_000 * bool(n_good) + b"\n\xff\n")
        with pytest.raises(UserError, match=f"a.txt, after line {n_good}: expected UTF-8"):
            list(read_lines(path))


def test_a_hash_is_of_all_bytes_in_the_order_given(tmp_path: Path) -> None:
    contents = [bytes(range(256)) * 5000, b"", b"end"]  # more than a block, nothing, a little
    paths = [tmp_path / str(number) for number in range(3)]
    for path, content in zip(paths, contents):
        path.write_bytes(content)
    assert hash_files(paths) == hashlib.sha256(b"".join(contents)).hexdigest()
    assert hash_files(paths[::-1]) == hashlib.sha256(b"".join(contents[::-1])).hexdigest()
