"""What trainers take from phase 1: a note of where it lay, and the clusters."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.files import hash_files, read_json, write_json
from languages import language_paths
from synthetic import write_segments, write_units
from units.phase1_inputs import (
    CLUSTER_FILES,
    copy_clusters,
    describe_inputs,
    find_inputs,
    hash_units,
    lacks_clusters,
)


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
    with pytest.raises(
        UserError,
        match=r"for every utterance, found none for 1; name it in segments\.jsonl and read",
    ):
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


def test_the_whole_note(paths: dict[str, Path], language_roots: dict[str, Path]) -> None:
    assert describe_inputs("spanish", paths) == {
        "language": "spanish",
        "corpus": str(paths["corpus"]),
        "units_exp": str(paths["units"]),
        "data_root": str(language_roots["data"]),
        "cache": str(paths["cache"]),
        "n_units": 12,
        "n_streams": 2,
    }


def test_inputs_are_where_they_were_or_in_their_place_here(
    paths: dict[str, Path], language_roots: dict[str, Path], tmp_path: Path
) -> None:
    paths["cache"].mkdir(parents=True)
    note = describe_inputs("spanish", paths)
    expected = (paths["corpus"], language_roots["data"], paths["cache"])
    assert find_inputs(note) == expected
    elsewhere = {name: f"/of/another/machine/{Path(str(note[name])).name}" for name in ("units_exp", "corpus", "cache")}
    assert find_inputs(note | elsewhere | {"data_root": "/of/another/machine"}) == expected
    there = tmp_path / "there"
    there.mkdir()
    recorded = {"corpus": str(there), "data_root": str(there), "cache": str(there)}
    assert find_inputs(note | recorded) == (there, there, there), "what exists is taken as it is recorded"


def test_units_made_elsewhere_have_no_clusters_and_are_known_by_their_description(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    units, exp = paths["units"], tmp_path / "voice"
    clusters, description = units / "kmeans.npz", units / "config.json"
    assert not lacks_clusters(units) and hash_units(units) == hash_files([clusters])
    clusters.unlink()
    assert not lacks_clusters(units), "lost, but made here"
    config = read_json(description)
    write_json(description, config | {"derived": config["derived"] | {"made_elsewhere": True}})
    assert lacks_clusters(units) and hash_units(units) == hash_files([description])
    exp.mkdir()
    copy_clusters(units, exp)
    assert [path.name for path in (exp / "units").iterdir()] == ["config.json"]
    description.unlink()
    assert not lacks_clusters(units)
