import pytest

from core.errors import UserError
from speech_llm.folds import Fold, parse_fold, part_fold


def items(*seconds: float) -> list[dict]:
    return [{"id": str(number), "duration": duration} for number, duration in enumerate(seconds)]


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "2", "a/b", "1/2/3", ""])
def test_a_fold_is_a_number_of_some(text):
    assert parse_fold("2/5") == Fold(2, 5)
    with pytest.raises(UserError, match="expected NUMBER/FOLDS"):
        parse_fold(text)


def test_folds_part_the_split_with_about_as_many_seconds_each():
    rows = items(*(1 + number % 4 for number in range(40)))
    parts = [part_fold(rows, Fold(number, 4)) for number in range(1, 5)]
    assert [row for _, held_out in parts for row in held_out] == rows
    for kept, held_out in parts:
        assert sorted(row["id"] for row in kept + held_out) == sorted(row["id"] for row in rows)
        assert sum(row["duration"] for row in held_out) == pytest.approx(25, abs=3)


def test_more_folds_than_utterances_are_refused():
    with pytest.raises(UserError, match="expected 3 training utterances, found 2"):
        part_fold(items(1, 1), Fold(1, 3))
    with pytest.raises(UserError, match="fewer folds"):
        part_fold(items(100, 1, 1), Fold(1, 3))
