"""Predictions read and checked, their errors counted, two recognisers compared."""

import json
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.files import write_json
from evaluation.word_errors import (
    Prediction,
    compare_errors,
    count_errors,
    normalise_predictions,
    order_like_first,
    read_predictions,
    summarise_errors,
)

PREDICTIONS = [
    Prediction("u1", "no hay nadie", "no ay nadie aquí"),
    Prediction("u2", "ya", "ya"),
    Prediction("u3", "", "eh"),
]


def test_counts_are_of_words_by_kind_then_of_characters() -> None:
    assert count_errors(PREDICTIONS).tolist() == [[1, 0, 1, 3, 6, 12], [0, 0, 0, 1, 0, 2], [0, 0, 1, 0, 2, 0]]
    assert count_errors([]).shape == (0, 6)


def test_rates_are_of_the_corpus() -> None:
    found = summarise_errors(count_errors(PREDICTIONS))
    assert (found.wer, found.cer, found.n_words, found.n_characters) == (3 / 4, 8 / 14, 4, 14)
    assert (found.substitutions, found.deletions, found.insertions, found.n_utterances) == (1, 0, 2, 3)


def test_normalising_changes_both_texts_and_no_id() -> None:
    assert normalise_predictions(PREDICTIONS[:1], str.upper) == [Prediction("u1", "NO HAY NADIE", "NO AY NADIE AQUÍ")]


def test_the_others_are_brought_into_the_order_of_the_first() -> None:
    assert order_like_first(PREDICTIONS, PREDICTIONS[::-1], ("a", "b")) == PREDICTIONS
    with pytest.raises(UserError, match="1 only in a: u3"):
        order_like_first(PREDICTIONS, PREDICTIONS[:2], ("a", "b"))


def test_a_recogniser_compared_with_itself_and_with_a_worse_one() -> None:
    counts = np.array([[1, 0, 0, 4, 3, 20]] * 30)
    same, worse = compare_errors(counts, [counts, counts + [1, 0, 0, 0, 0, 0]])
    assert same == (0.0, (0.0, 0.0), 1.0, 1.0)
    assert worse.wer_difference == 0.25 and worse.ci == (0.25, 0.25) and worse.p_adjusted == 2 * worse.p < 0.01


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "expected JSON"),
        ("\x80", "expected JSON"),
        ('{"id": 1}', "expected a list of predictions, found a JSON dict"),
        ("[]", "found an empty list"),
        ('["a"]', "prediction 1: expected an object"),
        ('[{"id": "a", "reference": "b"}]', "prediction 1: expected text in 'hypothesis', found none"),
        ('[{"id": "a", "reference": "b", "hypothesis": null}]', "expected text in 'hypothesis', found None"),
        ('[{"id": null, "reference": "b", "hypothesis": "b"}]', "expected text in 'id', found None"),
        (json.dumps([{"id": "a", "reference": "", "hypothesis": ""}] * 2), "prediction 2: expected each id once"),
    ],
)
def test_a_malformed_file_is_one_clear_line(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "test_predictions.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        read_predictions(path)
    assert expected in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": n, "reference": "a", "hypothesis": "a"} for n in range(3)]))
    assert [item.id for item in read_predictions(path)] == ["0", "1", "2"]


def test_a_large_set_is_grouped_and_exact() -> None:
    rows = PREDICTIONS * 2500
    counts, single = count_errors(rows), count_errors(PREDICTIONS)
    assert np.array_equal(counts[:3], single)
    assert summarise_errors(counts).wer == pytest.approx(summarise_errors(single).wer)


def test_what_the_origin_of_the_trainer_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "test_predictions.json"
    dev = {"predictions": ["a b", ""], "labels": ["a c", "d"], "uuids": ["x", "y"]}
    write_json(path, {"dev": dev})
    assert read_predictions(path) == [Prediction("x", "a c", "a b"), Prediction("y", "d", "")]
    write_json(path, {"dev": dev, "test": {"predictions": ["e"], "labels": ["e"]}})
    assert [item.id for item in read_predictions(path)] == ["dev_x", "dev_y", "test_000000"]
    write_json(path, {"dev": dev | {"labels": ["a c"]}})
    with pytest.raises(UserError, match="dev: expected as many predictions as labels, found 2 and 1"):
        read_predictions(path)
