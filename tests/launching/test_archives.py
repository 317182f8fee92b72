"""Archives of an upload: cuts that stay, names by content, whole or not there, resumed where it broke off."""

import tarfile
from pathlib import Path

import pytest

from core.errors import UserError
from core.files import unpack_tar
from launching.archives import archive_name, cut_archives, plan_upload, unpack_archive, write_archive

FILES = [(f"spanish/segments/s{number:04d}.wav", 1000 + number) for number in range(400)]


def write_files(root: Path, files: list[tuple[str, int]]) -> list[str]:
    for name, size in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(ord(name[-5]) for _ in range(size)))
    return [name for name, _ in files]


def test_every_file_is_in_one_archive_and_one_more_file_changes_one() -> None:
    groups = cut_archives(FILES, n_files=40)
    assert 4 <= len(groups) <= 25 and sorted(sum(groups, [])) == [name for name, _ in FILES]
    assert cut_archives(FILES[::-1], n_files=40) == groups
    more = cut_archives([*FILES, ("spanish/segments/s0200b.wav", 5)], n_files=40)
    assert len([group for group in more if group not in groups]) <= 2
    assert all(len(group) <= 10 for group in cut_archives(FILES, max_bytes=11_000))
    assert cut_archives([("one", 1 << 40)]) == [["one"]] and cut_archives([]) == []


def test_a_name_says_what_is_inside(tmp_path: Path) -> None:
    names = write_files(tmp_path, FILES[:3])
    name = archive_name(tmp_path, names)
    assert archive_name(tmp_path, names) == name != archive_name(tmp_path, names[:2])
    first, second = (tmp_path / names[0]).read_bytes(), (tmp_path / names[1]).read_bytes()
    (tmp_path / names[0]).write_bytes(first + second[:1])
    (tmp_path / names[1]).write_bytes(second[1:])
    assert archive_name(tmp_path, names) != name


def test_archives_are_the_same_bytes_and_give_back_the_files(tmp_path: Path) -> None:
    names = write_files(tmp_path / "here", FILES[:5])
    write_archive(tmp_path / "a.tar", tmp_path / "here", names)
    for name in names:
        (tmp_path / "here" / name).touch()
    write_archive(tmp_path / "b.tar", tmp_path / "here", names)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    unpack_archive(tmp_path / "a.tar", tmp_path / "there", 5)
    assert all((tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in names)


def test_a_damaged_or_wicked_archive_is_refused(tmp_path: Path) -> None:
    names = write_files(tmp_path / "here", FILES[:5])
    write_archive(tmp_path / "a.tar", tmp_path / "here", names)
    whole = (tmp_path / "a.tar").read_bytes()
    for length, problem in ((len(whole) // 3, "expected 5 files, found 2"), (700, "expected a whole archive")):
        (tmp_path / "a.tar").write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"a.tar: {problem}"):
            unpack_archive(tmp_path / "a.tar", tmp_path / "there", 5)
    (tmp_path / "here" / "x").write_text("x")
    write_archive(tmp_path / "b.tar", tmp_path / "here" / "spanish", ["../x"])
    with pytest.raises(UserError, match="b.tar"):
        unpack_archive(tmp_path / "b.tar", tmp_path / "there" / "inside", 1)
    assert not (tmp_path / "there" / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused_before_anything_is_written(kind: bytes, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("segments/a.wav")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("segments/first.wav"))
        archive.addfile(entry)
    with tarfile.open(tmp_path / "a.tar") as archive, pytest.raises(UserError, match="a.wav is no plain file"):
        unpack_tar(archive, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_what_is_left_to_do() -> None:
    groups = {"a": ["1"], "b": ["2"], "c": ["3"]}
    assert plan_upload(groups, []) == (groups, [])
    assert plan_upload(groups, ["a.done", "b.tar", "b.tar.part", "z.done"]) == ({"c": ["3"]}, ["b"])
