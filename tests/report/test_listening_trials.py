"""What a listening test asks: balanced, blind, and told from tables."""

from collections import Counter
from pathlib import Path

import numpy as np

import pytest

from listening_examples import UTTERANCES, make_test

from core.errors import UserError
from report.listening_trials import choose_utterances, questions_from_texts, read_questions


def test_every_pair_grade_and_word_is_asked_once() -> None:
    key = make_test()
    counts = Counter(trial["kind"] for trial in key["trials"])
    assert counts == {"preference": 8, "abx": 8, "mos": 24, "words": 24} and len(key["clips"]) == 16 + 24 + 24 + 24
    shown = {(key["clips"][trial["clips"][0]]["system"], trial["group"]) for trial in key["trials"]}
    assert len({group for _, group in shown if group in UTTERANCES}) == 8, "a sentence is heard by one system"


def test_x_is_each_of_the_two_equally_often_and_a_clip_of_its_own() -> None:
    trials = [trial for trial in make_test(["abx"])["trials"] if trial["kind"] == "abx"]
    assert Counter(trial["clips"].index(trial["right"]) for trial in trials) == {0: 4, 1: 4}
    assert all(len(set(trial["clips"])) == 3 for trial in trials)


def test_names_of_clips_say_nothing_of_their_order() -> None:
    names = list(make_test()["clips"])
    assert sorted(names) != names and len(set(names)) == len(names)
    assert list(make_test()["clips"]) == names


def test_right_answers_stand_in_every_place() -> None:
    rights = Counter(trial["right"] for trial in make_test(["words"])["trials"])
    assert set(rights) == {"1", "2", "3", "4"}


def test_utterances_that_fit_are_drawn() -> None:
    seconds = {"short": 0.3, "long": 30.0} | {f"u{number}": 3.0 for number in range(20)}
    first, again = (choose_utterances(seconds, 5, 8.0, np.random.default_rng(0)) for _ in range(2))
    assert first == again and len(first) == 5 and not {"short", "long"} & {*first}
    with pytest.raises(UserError, match="--max_seconds lets longer ones in"):
        choose_utterances({"long": 30.0}, 5, 8.0, np.random.default_rng(0))
    with pytest.raises(UserError, match="that all experiments have, found none"):
        choose_utterances({}, 5, 8.0, np.random.default_rng(0))


def test_a_table_of_answers_may_hold_texts_pictures_and_sounds(tmp_path: Path) -> None:
    (tmp_path / "tree.png").write_bytes(b"png")
    (tmp_path / "words.tsv").write_text("utterance\tright\twrong_1\twrong_2\nu1\ttree.png\ta house\t\n")
    question = read_questions(tmp_path / "words.tsv")["u1"]
    assert question.right == str(tmp_path / "tree.png") and question.wrong == ["a house"]
    (tmp_path / "words.tsv").write_text("utterance\tright\twrong_1\nu1\tbird.png\ta house\n")
    with pytest.raises(UserError, match=r"line 2: expected the file .*bird\.png, found none"):
        read_questions(tmp_path / "words.tsv")
    (tmp_path / "words.tsv").write_text("utterance\tright\twrong_1\nu1\tyes\tyes\n")
    with pytest.raises(UserError, match="line 2: expected a right and a wrong answer that differ"):
        read_questions(tmp_path / "words.tsv")
    (tmp_path / "words.tsv").write_text("utterance\tright\twrong_1\nu1\tyes\tno\nu1\ta\tb\n")
    with pytest.raises(UserError, match="line 3: expected each utterance once, found u1 again"):
        read_questions(tmp_path / "words.tsv")
    (tmp_path / "words.tsv").write_text("utterance\tright\twrong_1\n")
    with pytest.raises(UserError, match="expected utterances and answers, found none"):
        read_questions(tmp_path / "words.tsv")


def test_wrong_texts_are_as_long_as_the_right_one() -> None:
    scored = [{"id": f"u{number}", "text": "word " * number} for number in range(1, 9)]
    questions = questions_from_texts(scored, ["u4"], np.random.default_rng(0))
    lengths = {len(text.split()) for text in questions["u4"].wrong}
    assert lengths < {2, 3, 5, 6} and len(lengths) == 3 and {3, 5} < lengths
    with pytest.raises(UserError, match="--words TABLE"):
        questions_from_texts([{"id": "u1"}], ["u1"], np.random.default_rng(0))
