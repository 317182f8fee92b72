"""What a training takes of phase 1's corpus: by speaker and by flag."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from units.corpus import write_corpus
from units.selection import (
    EVERYTHING,
    Selection,
    add_selection_flags,
    check_selection,
    read_selected,
    read_selection,
    say_splits,
    select_rows,
)
from units.shards import describe_utterance
from units.unit_table import UnitTable, open_table

MUSIC, OVERLAP = ["noise_or_music"], ["noise_or_music", "overlapping_speech"]
TRAIN_AND_VAL = ("train", "val")


def utterance(name: str, split: str, speaker: str | None = None, flags: tuple[str, ...] | list[str] = ()) -> dict:
    row = {"id": name, "audio": f"x/{name}.wav", "duration": 60.0, "split": split, "unit_rate": 50}
    row |= {"units": [1], "durations": [3000]} | ({"speaker": speaker} if speaker else {})
    return row | ({"flags": list(flags)} if flags else {})


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[list[dict]], UnitTable]:
    def write(rows: list[dict]) -> UnitTable:
        write_corpus(tmp_path / "corpus_timestamped.json", rows)
        return open_table(tmp_path / "corpus_timestamped.json", tmp_path / "cache")

    return write


ROWS = [
    utterance("a1", "train", "ana"),
    utterance("a2", "val", "ana"),
    utterance("a3", "train", "ana", MUSIC),
    utterance("a4", "test", "ana", MUSIC),
    utterance("b1", "train", "Jos\u00e9"),
    utterance("b2", "test", "Jos\u00e9"),
    utterance("c1", "val", None, OVERLAP),
    utterance("c2", "train"),
]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (EVERYTHING, "a1 a2 a3 b1 c1 c2"),
        (Selection(), "a1 a2 b1 c2"),
        (Selection(("ana",)), "a1 a2"),
        (Selection(("ana",), keep_flagged=True), "a1 a2 a3"),
        (Selection(("ana", "Jos\u00e9")), "a1 a2 b1"),
    ],
)
def test_speakers_and_flags_select(corpus: Callable, selection: Selection, expected: str) -> None:
    found = select_rows(corpus(ROWS), TRAIN_AND_VAL, selection)
    assert [ROWS[row]["id"] for row in found] == expected.split()


def test_minutes_of_each_split_are_said() -> None:
    assert say_splits({"train": 720.0, "val": 63.0}) == "train 12.0 min, val 1.1 min, test 0.0 min"


def test_flags_of_the_command_line_and_of_an_experiment_say_the_same(corpus: Callable) -> None:
    parser = argparse.ArgumentParser()
    add_selection_flags(parser)
    assert read_selection(vars(parser.parse_args([]))) == Selection() == read_selection({})
    given = vars(parser.parse_args(["--speaker", "ana", "--speaker", "Jose\u0301", "--keep_flagged"]))
    assert read_selection(given) == Selection(("ana", "Jos\u00e9"), True), "accents by themselves are the same name"


def test_the_log_names_speakers_and_what_is_left_out(corpus: Callable) -> None:
    path = corpus(ROWS)
    assert check_selection(path, Selection(("ana",)), splits=Path("splits.json")) == [
        "speaker ana: train 2.0 min, val 1.0 min, test 1.0 min",
        "left out 1 segment flagged noise_or_music (1), 1.0 min; --keep_flagged takes them too",
    ]
    (line,) = check_selection(path, Selection(), splits=Path("splits.json"))
    assert "left out 2 segments flagged noise_or_music (2), overlapping_speech (1), 2.0 min" in line
    assert check_selection(path, EVERYTHING, splits=Path("splits.json")) == []


@pytest.mark.parametrize(
    ("rows", "selection", "message"),
    [
        (
            ROWS,
            Selection(("anna",)),
            r"--speaker anna: not in .*: expected one of ana \(4.0 min\), Jos\u00e9 \(2.0 min\)$",
        ),
        ([utterance("x", "train")], Selection(("ana",)), "nobody is named; write speakers.tsv and rerun phase 1"),
        (
            ROWS,
            Selection(("Jos\u00e9",)),
            r"Jos\u00e9 in split 'val', found none \(train 1.0 min, val 0.0 min.*in splits.json",
        ),
        (
            [utterance("x", "train", None, MUSIC), utterance("y", "val", None, MUSIC)],
            Selection(),
            r"split 'train', found only segments flagged noise_or_music \(1\), 1.0 min; .*--keep_flagged",
        ),
        ([utterance("x", "train")], Selection(), "split val, found none; add recordings"),
    ],
)
def test_nothing_left_is_one_clear_line(corpus: Callable, rows: list, selection: Selection, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_selection(corpus(rows), selection, splits=Path("splits.json"))


def test_twenty_speakers_are_listed_those_who_speak_most_first(corpus: Callable) -> None:
    rows = [utterance(f"{number:02}", "train", f"s{number:02}") for number in range(22)]
    rows += [utterance("more", "val", "s21"), utterance("nobody's", "train")]
    listed = ["s21 (2.0 min)", *(f"s{number:02} (1.0 min)" for number in range(19))]
    for n_speakers, more in ((22, " and 2 more"), (20, "")):
        chosen = [row for row in rows if row.get("speaker", "s21") > f"s{21 - n_speakers:02}"] if not more else rows
        expected = listed if more else ["s21 (2.0 min)", *(f"s{number:02} (1.0 min)" for number in range(2, 21))]
        with pytest.raises(UserError) as refused:
            check_selection(corpus(chosen), Selection(("anna", "s20", "ben")), splits=Path("splits.json"))
        said = str(refused.value)
        assert said.startswith("--speaker anna, ben: not in ")
        assert said.endswith(f": expected one of {', '.join(expected)}{more}")


def test_an_utterance_is_selected_by_itself_as_by_the_table(corpus: Callable) -> None:
    for selection in (EVERYTHING, Selection(), Selection(("ana",)), Selection(("Jos\u00e9",), keep_flagged=True)):
        table = corpus(ROWS)
        found = [row["id"] for row in read_selected(table.corpus, TRAIN_AND_VAL, selection)]
        assert found == [ROWS[row]["id"] for row in select_rows(table, TRAIN_AND_VAL, selection)]


def test_the_corpus_keeps_the_flags_of_segments() -> None:
    row = {"id": "x", "audio": "x.wav", "split": "train", "speaker": "ana"}
    found = [describe_utterance(row | {"flags": flags}, 320, np.zeros((1, 1), int)) for flags in ([], MUSIC)]
    assert [entry.get("flags") for entry in found] == [None, MUSIC]
