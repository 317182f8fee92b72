"""The corpus file: run lengths, whole files only, writers that do not meet."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from units.corpus import deduplicate, expand, find_fault, frame_units, is_corpus, read_corpus, write_corpus


def utterance(name: str, units: list[int] = (3, 1), durations: list[int] = (2, 4), **more: object) -> dict:
    known = {"id": name, "audio": f"x/{name}.wav", "duration": sum(durations) / 50, "split": "train", "unit_rate": 50}
    return known | {"units": [*units], "durations": [*durations]} | more


@pytest.mark.parametrize("frames", [[], [0], [5, 5, 5], [0, 0, 1, 0, 2, 2], [1, 0, 0, 0, 1]])
def test_run_lengths_round_trip(frames: list[int]) -> None:
    units, durations = deduplicate(np.array(frames, np.int64))
    assert (np.diff(units) != 0).all()
    assert durations.sum() == len(frames)
    assert expand(units, durations).tolist() == frames


def test_frame_units_put_the_streams_side_by_side() -> None:
    found = frame_units(utterance("a", residual_units=[[0, 1, 2, 3, 4, 5]]))
    assert found.tolist() == [[3, 0], [3, 1], [1, 2], [1, 3], [1, 4], [1, 5]]
    with pytest.raises(UserError, match=r"utterance a: streams of different lengths \[6, 2\]"):
        frame_units(utterance("a", residual_units=[[0, 1]]))


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    """Another process writes the same corpus while this one is at it: each writes a whole file, the later one stays."""
    path = tmp_path / "corpus.json"

    def slowly() -> Iterator[dict]:
        yield utterance("first")
        write_corpus(path, [utterance("other")])
        assert [found["id"] for found in read_corpus(path)] == ["other"]
        yield utterance("second")

    assert write_corpus(path, slowly()) == 2
    assert [found["id"] for found in read_corpus(path)] == ["first", "second"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus.json"]


def test_what_is_broken_off_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    write_corpus(path, [utterance("old")])

    def breaks_off() -> Iterator[dict]:
        yield utterance("new")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_corpus(path, breaks_off())
    assert [found["id"] for found in read_corpus(path)] == ["old"]


def test_one_json_array_with_one_utterance_a_line(tmp_path: Path) -> None:
    path, written = tmp_path / "corpus.json", [utterance("a"), utterance("b", split="test")]
    write_corpus(path, written)
    assert json.loads(path.read_text()) == written
    assert len(path.read_text().splitlines()) == 4
    assert is_corpus(path)
    assert [found["id"] for found in read_corpus(path, splits=["test"])] == ["b"]
    path.write_text(path.read_text().removesuffix("]\n"))
    with pytest.raises(UserError, match="cut short"):
        list(read_corpus(path))


LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"units": [], "durations": []}, ""),
        ({"units": [LARGEST, 0], "durations": [1, 2]}, ""),
        ({"units": [LARGEST + 1, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [-1, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [1, 0], "durations": [0, 3]}, "expected unit ids"),
        ({"units": [1, 0], "durations": [3]}, "expected unit ids"),
        ({"units": [1.0, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [True, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, 2]]}, ""),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, 2], [0, 1]]}, "residual_units of 3 frames"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, -2]]}, "residual_units of 3 frames"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": {}}, "residual_units of 3 frames"),
        ({"duration": -1.0}, "expected seconds"),
        ({"unit_rate": 49}, "expected a unit rate of 50 Hz"),
        ({"split": "dev"}, "expected split"),
        ({"id": "../a"}, "expected an id"),
        ({"audio": None}, "expected a path"),
    ],
)
def test_what_is_an_utterance_and_what_just_is_none(change: dict, fault: str) -> None:
    found = find_fault(utterance("a") | change)
    assert found.startswith(fault) if fault == "" else fault in found
    assert bool(found) == bool(fault)


def test_each_missing_key_is_named() -> None:
    for key in utterance("a"):
        short = {name: value for name, value in utterance("a").items() if name != key}
        assert f"missing {key}" in find_fault(short)
    assert "found ['a']" in find_fault(["a"])
