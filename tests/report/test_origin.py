"""A page is given away: the folders of whoever made it stay at home."""

from pathlib import Path

import pytest

from languages import REPOSITORY
from report.origin import shorten_paths, typed_folder


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/home/ana/oral units/exp/spanish_units"), "…/exp/spanish_units"),
        ("/home/ana", "…/ana"),
        (
            "python src/a.py --exp /home/ana/exp/x --data=/home/ana/d/y 'z'",
            "python src/a.py --exp …/exp/x --data=…/d/y 'z'",
        ),
        ("~/exp/a/b", "…/a/b"),
        ("src/trainer.py --a 1/2, audio/mpeg, https://example.org/a/b", None),
        (12, None),
    ],
)
def test_absolute_paths_are_cut_and_all_else_stays(value: object, shown: str | None) -> None:
    assert shorten_paths(value) == (value if shown is None else shown)


def test_a_folder_in_a_command_can_be_pasted_and_names_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXP_ROOT", str(tmp_path / "mine"))
    assert typed_folder(tmp_path / "mine" / "ava_vocoder_v4") == "$EXP_ROOT/ava_vocoder_v4"
    assert typed_folder(tmp_path / "mine" / "my $voice") == '"$EXP_ROOT/my \\$voice"'
    assert typed_folder(REPOSITORY / "exp" / "ava") == "exp/ava"
    assert typed_folder(tmp_path / "elsewhere" / "ava") == "FOLDER/ava"
