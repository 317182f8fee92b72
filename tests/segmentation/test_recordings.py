"""Sources, stems, splits, tables."""

import hashlib
import os

import pytest

from core.errors import UserError
from segmentation.recordings import (
    assign_splits,
    list_sources,
    name_stems,
    read_speakers,
    read_transcripts,
    split_at,
    split_fraction,
    split_of_name,
    texts_of_segments,
)

ONE = [(0.0, 5.0)]


def test_sources_are_nested_sorted_and_survive_a_link_loop(tmp_path):
    for name in ("b.mp3", "a/x.WAV", "a/notes.txt", ".hidden.mp3", "a/deep/y.flac"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    assert list(list_sources(tmp_path)) == ["a/deep/y.flac", "a/x.WAV", "b.mp3"]


def test_names_do_not_depend_on_the_unicode_form(tmp_path):
    (tmp_path / "Sa\u0303o.mp3").write_bytes(b"x")
    assert list(list_sources(tmp_path)) == ["S\u00e3o.mp3"]


def test_stems_are_unique_safe_and_short():
    sources = [
        "a/b.mp3",
        "a_b.mp3",
        "a_b.wav",
        "A_b.flac",
        "../..mp3",
        "São Tomé.mp3",
        "Сатере.mp3",
        "x" * 300 + ".mp3",
    ]
    stems = name_stems(sources)
    assert len({stem.lower() for stem in stems.values()}) == len(sources)
    assert (
        stems["a/b.mp3"] == "a_b"
        and stems["São Tomé.mp3"] == "Sao_Tome"
        and stems["Сатере.mp3"].startswith("recording")
    )
    for stem in stems.values():
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        assert len(stem) <= 120 and not stem.startswith(".")


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


def test_texts_inside_a_segment_and_texts_cut_through():
    texts = [(0.1, 1.0, "one"), (1.5, 3.0, "two"), (4.0, 8.0, "three"), (9.0, 11.0, "lost")]
    assert texts_of_segments([(0.0, 3.1), (3.9, 8.2)], texts) == (["one two", "three"], 1)
    assert texts_of_segments([(0.0, 3.1), (3.9, 6.0), (6.1, 8.2)], texts) == (["one two", None, None], 2)
    assert texts_of_segments([(0.0, 3.1)], [(0.0, float("inf"), "whole")]) == (["whole"], 0)
    assert texts_of_segments([(0.0, 3.0), (4.0, 8.0)], [(0.0, float("inf"), "whole")]) == ([None, None], 1)
    assert texts_of_segments([], texts) == ([], 4)


def test_tables(tmp_path):
    table = tmp_path / "transcripts.tsv"
    table.write_text(
        'source\tstart\tend\ttext\nb.mp3\t2\t3\tsecond\nb.mp3\t0.5\t1.5\tdice "sí"\na.mp3\t\t\tall of it\n'
    )
    assert read_transcripts(table) == {
        "b.mp3": [(0.5, 1.5, 'dice "sí"'), (2.0, 3.0, "second")],
        "a.mp3": [(0.0, float("inf"), "all of it")],
    }
    (tmp_path / "speakers.tsv").write_text("a.mp3\tana\n")
    assert read_speakers(tmp_path / "speakers.tsv") == {"a.mp3": "ana"}


@pytest.mark.parametrize("line", ["a.mp3\t1\t2", "a.mp3\tone\t2\ttext", "a.mp3\t3\t2\ttext", "a.mp3\t-1\t2\ttext"])
def test_a_bad_line_is_named(tmp_path, line):
    table = tmp_path / "transcripts.tsv"
    table.write_text("source\tstart\tend\ttext\n" + line + "\n")
    with pytest.raises(UserError, match="transcripts.tsv"):
        read_transcripts(table)
