"""annotations/find_annotations.py: by name, by link, and what belongs to nothing is said."""

from pathlib import Path

import pytest

from annotations.find_annotations import find_annotations
from annotations.spans import Span
from annotations.write_annotations import write_annotations
from core.errors import UserError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_files_beside_a_recording_under_its_name(tmp_path: Path) -> None:
    sources = {name: tmp_path / name for name in ("a.wav", "deep/b.mp3", "c.wav")}
    for path in sources.values():
        touch(path)
    touch(tmp_path / "a.srt")
    eaf = touch(tmp_path / "a.eaf")
    grid = touch(tmp_path / "deep/b.TextGrid")
    touch(tmp_path / "c.txt")  # may be anything
    assert find_annotations(sources) == ({"a.wav": eaf, "deep/b.mp3": grid}, [])


def test_a_folder_of_annotations_by_name_and_by_link(tmp_path: Path) -> None:
    sources = {name: touch(tmp_path / "raw" / name) for name in ("ma\u00e3.wav", "tape 7.wav")}
    folder = tmp_path / "elan"
    by_name = touch(folder / "Maa\u0303.srt")  # another case, another form of the accent
    linked = folder / "session.eaf"
    write_annotations(linked, [Span("a", 0, 1, "x")], form="eaf", media=tmp_path / "old/Tape 7.wav", seconds=1)
    lonely = touch(folder / "other.srt")
    found, unused = find_annotations(sources, folder)
    assert found == {"ma\u00e3.wav": by_name, "tape 7.wav": linked} and unused == [lonely]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder of annotations"):
        find_annotations({}, tmp_path / "absent")
