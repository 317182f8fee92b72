"""Names as a Mac writes them (NFD) are found by the names in tables (NFC)."""

import unicodedata
from pathlib import Path

import pytest

from core.composed_names import find_composed

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
