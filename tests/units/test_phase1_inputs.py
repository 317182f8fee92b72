"""What trainers take from phase 1: F0 of a split, a note of where it lay, and the clusters."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from languages import language_paths
from synthetic import write_segments, write_units
from units.phase1_inputs import CLUSTER_FILES, copy_clusters, describe_inputs, fill_split_f0


@pytest.fixture
def paths(language_roots: dict[str, Path]) -> dict[str, Path]:
    write_units(language_roots["exp"], write_segments(language_roots["data"], "spanish"), n_units=12, n_streams=2)
    return language_paths("spanish")


def test_f0_is_computed_for_one_split(paths: dict[str, Path]) -> None:
    fill_split_f0(paths["corpus"], paths["cache"], "test")
    entries = json.loads(paths["corpus"].read_text())
    expected = {entry["id"] for entry in entries if entry["split"] == "test"}
    assert expected and {path.stem for path in paths["cache"].rglob("*.npy")} == expected


def test_audio_outside_the_data_root_is_not_read(paths: dict[str, Path]) -> None:
    text = paths["corpus"].read_text()
    paths["corpus"].write_text(text.replace('"spanish/segments', '"../elsewhere/spanish/segments'))
    with pytest.raises(UserError, match="leaves"):
        fill_split_f0(paths["corpus"], paths["cache"], "test")


def test_the_note_says_where_the_inputs_lay_and_what_the_units_are(paths: dict[str, Path]) -> None:
    note = describe_inputs("spanish", paths)
    assert (note["language"], note["n_units"], note["n_streams"]) == ("spanish", 12, 2)
    assert (note["corpus"], note["units_exp"]) == (str(paths["corpus"]), str(paths["units"]))


def test_clusters_are_copied_whole_and_again(paths: dict[str, Path], tmp_path: Path) -> None:
    exp = tmp_path / "voice"
    exp.mkdir()
    for _ in range(2):
        copy_clusters(paths["units"], exp)
    for name in CLUSTER_FILES:
        assert (exp / "units" / name).read_bytes() == (paths["units"] / name).read_bytes()
