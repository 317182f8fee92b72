"""Which recordings train, validate and test."""

import hashlib
import json

import pytest

from core.errors import UserError
from segmentation.splits import assign_group_splits, assign_splits, read_splits, split_at, split_fraction, split_of_name

ONE = [(0.0, 5.0)]


@pytest.mark.parametrize(
    "split",
    [0, None, "nowhere", [], {}, ["train"], [["train"]], [["train", "1"]], [["x", 1]], [["val", -1]], [[[], 1]]],
)
def test_a_split_that_somebody_spoilt_is_refused_by_name(tmp_path, split: object) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"a.mp3": [["train", 1.0], ["val", 2.5]], "b.mp3": "test"}))
    assert list(read_splits(path)) == ["a.mp3", "b.mp3"]
    path.write_text(json.dumps({"a.mp3": split}))
    with pytest.raises(UserError, match="expected train, val, test for a.mp3, found"):
        read_splits(path)


def test_split_is_the_hash_of_the_name():
    digest = hashlib.sha256(b"session_001.mp3").hexdigest()
    assert split_fraction("session_001.mp3") == pytest.approx(int(digest[:13], 16) / 16**13)
    assert split_of_name("session_001.mp3") == "test"
    counts = [split_of_name(f"{number}.mp3") for number in range(4000)]
    assert counts.count("test") / 4000 == pytest.approx(0.15, abs=0.02)
    assert counts.count("val") / 4000 == pytest.approx(0.10, abs=0.02)


def test_adding_recordings_moves_nothing():
    first = assign_splits({f"{number}.mp3": ONE for number in range(5)}, {})
    assert set(first.values()) == {"train", "val", "test"}
    second = assign_splits({f"{number}.mp3": ONE for number in range(50)}, first)
    assert {source: second[source] for source in first} == first
    reversed_order = assign_splits({f"{number}.mp3": ONE for number in reversed(range(5))}, {})
    assert reversed_order == first and list(reversed_order) == list(first)


def test_three_recordings_or_more_are_in_all_three_splits():
    """Whatever their names: of interview_07 to 09 the hash alone puts none into val."""
    names = ("interview_07.mp3", "interview_08.mp3", "interview_09.mp3")
    assert "val" not in map(split_of_name, names)
    for corpus in (names, *([f"{start}_{number}.mp3" for number in range(3)] for start in range(300))):
        assert set(assign_splits(dict.fromkeys(corpus, ONE), {}).values()) == {"train", "val", "test"}, corpus


def test_a_removed_recording_keeps_its_place_in_the_frozen_splits():
    frozen = {"old.mp3": "test"}
    assert assign_splits({"a.mp3": ONE, "b.mp3": ONE, "c.mp3": ONE}, frozen)["old.mp3"] == "test"


def test_few_sources_are_split_into_blocks_of_time():
    segments = [(5.0 * number, 5.0 * number + 4.0) for number in range(20)]
    splits = assign_splits({"one.mp3": segments}, {})
    found = [split_at(splits["one.mp3"], *segment) for segment in segments]
    assert found == ["train"] * 15 + ["val"] * 2 + ["test"] * 3
    assert assign_splits({"one.mp3": segments, "two.mp3": ONE, "x.mp3": ONE}, splits)["one.mp3"] == splits["one.mp3"]


@pytest.mark.parametrize("n_segments", [1, 2, 3, 4])
def test_blocks_of_few_segments(n_segments):
    segments = [(5.0 * number, 5.0 * number + 4.0) for number in range(n_segments)]
    found = [split_at(assign_splits({"one.mp3": segments}, {})["one.mp3"], *segment) for segment in segments]
    assert found == {1: ["train"], 2: ["train", "test"], 3: ["train", "val", "test"]}.get(
        n_segments, ["train", "train", "val", "test"]
    )


def test_groups_stay_together_and_new_members_join_theirs():
    groups = {f"{group}/{number}.wav": group for group in ("a", "b", "c", "d", "e") for number in range(3)}
    splits = assign_group_splits(groups, {})
    assert {len({splits[source] for source in groups if groups[source] == group}) for group in "abcde"} == {1}
    assert set(splits.values()) == {"train", "val", "test"}
    later = assign_group_splits(groups | {"a/9.wav": "a"}, splits)
    assert later["a/9.wav"] == splits["a/0.wav"] and later | splits == later
    with pytest.raises(UserError, match="at least 3"):
        assign_group_splits({"a/1.wav": "a", "b/1.wav": "b"}, {})
