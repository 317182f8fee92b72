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
        ({"units": [1], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [1.0, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [True, 0], "durations": [1, 2]}, "expected unit ids"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, 2]]}, ""),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, 2], [0, 1]]}, "residual_units of 3 frames"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, -2]]}, "residual_units of 3 frames"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": {}}, "residual_units of 3 frames"),
        ({"duration": -1.0}, "expected seconds"),
        ({"units": [1, 2], "durations": [1, 2], "residual_units": [[0, 1, 2, 3]]}, "residual_units of 3 frames"),
        ({"unit_rate": 49}, "expected a unit rate of 50 Hz"),
        ({"unit_rate": 51}, "expected a unit rate of 50 Hz"),
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "../a"}, "expected an id that may be a file's name, found '../a'"),
        ({"id": 7}, "expected an id that may be a file's name, found 7"),
        ({"split": "dev"}, "expected split train, val, test, found 'dev' in a"),
        ({"unit_rate": 25}, "expected a unit rate of 50 Hz, found 25 Hz in a"),
        ({"duration": "x" * 99}, f"expected seconds in 'duration', found {repr('x' * 99)[:40]} in a"),
        ({"units": [3]}, "expected unit ids from 0 on, and as many durations of 1 frame or more, in a"),
        ({"residual_units": [[1]]}, "expected residual_units of 6 frames each in a"),
        ({"audio": None}, "expected a path as audio of a"),
    ],
)
def test_a_fault_says_what_was_found_and_in_which_line(tmp_path: Path, change: dict, said: str) -> None:
    assert find_fault(utterance("a") | change) == said
    path = tmp_path / "corpus.json"
    write_corpus(path, [utterance("first"), utterance("a") | change])
    found = read_corpus(path)
    assert next(found)["id"] == "first"
    with pytest.raises(UserError) as refused:
        next(found)
    assert str(refused.value) == f"{path}, line 3: {said}; rerun phase 1"
    assert is_corpus(path), "the first utterance tells"


def test_lines_that_are_none_are_told_and_empty_ones_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "spanish_units" / "corpus.json"
    with pytest.raises(UserError, match=r"expected phase 1's corpus, found none; run: bash .*phase1\.sh spanish"):
        list(read_corpus(path))
    path.parent.mkdir()
    line = json.dumps(utterance("a"))
    path.write_text(f"\n[\n\n  {line},\n\n{line}\n]\n\n")
    with pytest.raises(UserError, match="cut short"):
        list(read_corpus(path))
    path.write_text(f"\n[\n\n  {line},\n\n{line}\n]\n")
    assert len(list(read_corpus(path))) == 2 and not is_corpus(path), "a bracket comes first"
    path.write_text(f"[\n{line[:-9]},\n{line}\n]\n")
    with pytest.raises(UserError, match="corpus.json, line 2: expected one utterance a line, found .*; rerun phase 1$"):
        list(read_corpus(path))
    for text in ("", "[", "[\n", "{\n" + line, "[\n7", "[\n{}\n", f"[{line}]"):
        path.write_text(text)
        assert not is_corpus(path)
    path.write_bytes(b"[\n\xff\n]\n")
    assert not is_corpus(path)


def test_units_and_durations_go_in_pairs() -> None:
    for units, durations in (([1, 2], [3]), ([1], [3, 4])):
        said = f"expected one duration a unit, found {len(units)} units and {len(durations)} durations"
        with pytest.raises(UserError, match=said):
            expand(units, durations)
    assert deduplicate(np.array([2, 2, 0], np.int16))[0].dtype == np.int64
