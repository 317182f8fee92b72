"""What trainers take from phase 1: a note of where it lay, and the clusters."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.files import write_json
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


def test_units_that_lack_audio_are_refused_and_a_phase_1_that_says_nothing_of_it_is_not(paths: dict[str, Path]) -> None:
    summary = paths["units"] / "finished.json"
    for content in ({}, {"n_without_audio": 0}):
        write_json(summary, content)
        assert describe_inputs("spanish", paths)["n_units"] == 12
    write_json(summary, {"n_without_audio": 1})
    with pytest.raises(UserError, match="audio under DATA_ROOT for every utterance, found none for 1;"):
        describe_inputs("spanish", paths)
    summary.unlink()
    assert describe_inputs("spanish", paths)["n_units"] == 12


def test_clusters_are_copied_whole_and_again(paths: dict[str, Path], tmp_path: Path) -> None:
    exp = tmp_path / "voice"
    exp.mkdir()
    for _ in range(2):
        copy_clusters(paths["units"], exp)
    for name in CLUSTER_FILES:
        assert (exp / "units" / name).read_bytes() == (paths["units"] / name).read_bytes()
