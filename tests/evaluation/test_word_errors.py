"""Predictions read and checked, their errors counted, two recognisers compared."""

import json
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.files import write_json
from evaluation.bootstrap import bootstrap_ratio
from evaluation.word_errors import (
    Prediction,
    compare_errors,
    count_errors,
    count_search_errors,
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


@pytest.mark.parametrize(("n_more", "listed"), [(5, "a0, a1, a2, a3, a4;"), (7, "a0, a1, a2, a3, a4 and 2 more;")])
def test_five_ids_that_differ_are_listed(n_more: int, listed: str) -> None:
    more = [Prediction(f"a{number}", "uno", "uno") for number in range(n_more)]
    changed = [one._replace(reference="dos") for one in more]
    for first, other, said in (
        ([*PREDICTIONS, *more], PREDICTIONS, f"y and x: expected the same utterances, found {n_more} only in x: "),
        (
            PREDICTIONS,
            [*more[::-1], *PREDICTIONS],
            f"y and x: expected the same utterances, found {n_more} only in y: ",
        ),
        (
            [*PREDICTIONS, *more],
            [*PREDICTIONS, *changed],
            f"y and x: expected the same references, found {n_more} that ",
        ),
    ):
        with pytest.raises(UserError) as refused:
            order_like_first(first, other, ("x", "y"))
        assert str(refused.value).startswith(said) and listed in str(refused.value)
        assert str(refused.value).endswith("; give predictions of one test set, or --unpaired for a table alone")


def test_intervals_and_differences_are_of_the_corpus() -> None:
    counts = np.array([[1, 0, 0, 4, 3, 20], [0, 2, 0, 6, 5, 30], [0, 0, 1, 2, 4, 10]])
    found = summarise_errors(counts, n_resamples=500, seed=3)
    words = bootstrap_ratio([1, 2, 1], [4, 6, 2], n_resamples=500, seed=3)
    characters = bootstrap_ratio([3, 5, 4], [20, 30, 10], n_resamples=500, seed=3)
    assert (found.wer, found.cer) == (4 / 12, 12 / 60)
    assert found.wer_ci == (words.low, words.high) and found.cer_ci == (characters.low, characters.high)
    assert (found.deletions, found.n_words, found.n_characters) == (2, 12, 60)
    (difference,) = compare_errors(
        counts, [counts[:, [0, 1, 2, 3, 4, 5]] * [2, 1, 1, 1, 1, 1]], n_resamples=500, seed=3
    )
    assert difference.wer_difference == pytest.approx(1 / 12) and difference.ci[0] == 0 and difference.p == 1


def test_long_mistakes_are_told_by_their_beginning(tmp_path: Path) -> None:
    path, long = tmp_path / "test_predictions.json", list(range(100))
    for row, said in (
        (long, f"prediction 1: expected an object with id, reference, hypothesis, found {repr(long)[:60]}; run the"),
        (
            {"id": "a", "reference": long},
            f"prediction 1: expected text in 'reference', found {repr(long)[:60]}; run the",
        ),
    ):
        write_json(path, [row])
        with pytest.raises(UserError) as refused:
            read_predictions(path)
        assert said in str(refused.value)
    with pytest.raises(UserError, match="expected a test_predictions.json, found a folder; name the file in it"):
        read_predictions(tmp_path)
    dev = {"predictions": ["a"], "labels": ["a"], "uuids": ["x", "y"]}
    write_json(path, {"dev": dev})
    with pytest.raises(UserError, match="as many predictions as labels, found 1 and 1, with 2 ids; run the trainer"):
        read_predictions(path)


def test_search_errors_are_counted_among_those_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "test_predictions.json"
    write_json(path, [{"id": "a"}, {"search_error": True}, {"search_error": False}, {"search_error": True}])
    assert count_search_errors(path) == (2, 3)
    write_json(path, [{"id": "a"}])
    assert count_search_errors(path) is None
