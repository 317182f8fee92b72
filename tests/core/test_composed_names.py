"""Names as a Mac writes them (NFD) are found by the names in tables (NFC)."""

import argparse
import copy
import unicodedata
from pathlib import Path

import pytest

from core.cli import parse_flags
from core.composed_names import find_composed
from spoken_search.queries import parse_query

TABLES_NAME = "Kâgssagssuk/é 12.wav"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_whatever_form_its_folders_and_it_have(tmp_path: Path, form: str) -> None:
    path = tmp_path / unicodedata.normalize(form, TABLES_NAME)
    path.parent.mkdir()
    path.touch()
    assert find_composed(tmp_path, TABLES_NAME) == path


def test_what_is_nowhere_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "Kâgssagssuk").touch()
    assert find_composed(tmp_path, TABLES_NAME) == tmp_path / TABLES_NAME
    assert find_composed(tmp_path / "absent", TABLES_NAME) == tmp_path / "absent" / TABLES_NAME


@pytest.mark.parametrize("typed_form", ["NFC", "NFD"])
@pytest.mark.parametrize("disk_form", ["NFC", "NFD"])
def test_a_flag_means_what_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed_form: str, disk_form: str
) -> None:
    lies, typed = (unicodedata.normalize(form, TABLES_NAME) for form in (disk_form, typed_form))
    (tmp_path / lies).parent.mkdir()
    (tmp_path / lies).touch()
    new = "ʼnew ẽ.json"
    parser = argparse.ArgumentParser()
    parser.add_argument("--audio", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    monkeypatch.chdir(tmp_path)
    for above in (tmp_path, Path()):
        out = (above / typed).with_name(new)
        args = parse_flags(copy.deepcopy(parser), ["--audio", str(above / typed), "--out", str(out)])
        assert args.audio == [above / lies]
        # A new file comes into the folder that is there, in the form that was typed.
        assert args.out == (above / lies).with_name(new)


def test_a_clip_to_search_for_is_found_in_either_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / unicodedata.normalize("NFD", "pé@1-2.wav")).touch()
    (tmp_path / unicodedata.normalize("NFD", "ẽ.mp3")).touch()
    monkeypatch.chdir(tmp_path)
    whole, part = parse_query("pé@1-2.wav"), parse_query("ẽ.mp3@1.5-2")
    assert whole.path.is_file() and whole.start is None
    assert part.path.is_file() and (part.start, part.end) == (1.5, 2.0)
