"""What trainers take from phase 1: a note of where it lay, and the clusters."""

from pathlib import Path

import pytest

from languages import language_paths
from synthetic import write_segments, write_units
from units.phase1_inputs import CLUSTER_FILES, copy_clusters, describe_inputs


@pytest.fixture
def paths(language_roots: dict[str, Path]) -> dict[str, Path]:
    write_units(language_roots["exp"], write_segments(language_roots["data"], "spanish"), n_units=12, n_streams=2)
    return language_paths("spanish")


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
