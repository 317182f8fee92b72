"""Which files are copies of which, and that few are read for it."""

from pathlib import Path

import pytest

from segmentation import copied_recordings
from segmentation.copied_recordings import find_copies


def test_only_equal_bytes_are_copies_and_little_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a": b"12345", "c": b"12345", "b": b"12344", "d": b"02345", "e": b"1", "f": b"", "g": b""}
    sources = {name: tmp_path / name for name in contents} | {"gone": tmp_path / "gone"}
    for name, content in contents.items():
        sources[name].write_bytes(content)
    read, hash_files = [], copied_recordings.hash_files
    monkeypatch.setattr(copied_recordings, "hash_files", lambda paths: read.extend(paths) or hash_files(paths))
    assert find_copies(sources, {}) == {"c": "a"}
    assert sorted(path.name for path in read) == ["a", "c", "d"]  # the others differ in size or in their middle
    assert find_copies(sources, {"c": 1}) == {"a": "c"}
