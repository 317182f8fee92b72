"""Word and character error rates of what a recogniser wrote, from ``test_predictions.json``.

Rates are of the corpus: edits of all utterances over words (or characters) of all references, as jiwer defines them.
Where no reference has a word, the rate is the number of inserted words. Axes: U utterances.
"""

from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from core.errors import UserError
from core.files import read_json
from core.wording import name_some
from evaluation.bootstrap import (
    N_RESAMPLES,
    adjust_for_many,
    bootstrap_ratio,
    paired_ratio_difference,
    permutation_p,
)
from evaluation.text_errors import character_distance, count_word_edits, split_characters

N_COLUMNS = 6  # of the counts: substitutions, deletions, insertions, words, character edits, characters
MAX_LISTED_IDS = 5  # in an error
ONE_SET = "give predictions of one test set, or --unpaired for a table alone"


class Prediction(NamedTuple):
    """An entry of ``test_predictions.json``: what was said, and what a recogniser wrote."""

    id: str
    reference: str
    hypothesis: str


class ErrorRates(NamedTuple):
    """One input's rates with their 95 % intervals, and the edits behind them, as ``calculate_wer.py --json`` writes."""

    wer: float
    cer: float
    substitutions: int
    deletions: int
    insertions: int
    n_words: int
    n_utterances: int
    wer_ci: tuple[float, float]
    cer_ci: tuple[float, float]
    n_characters: int


class ErrorDifference(NamedTuple):
    """WER of one input minus that of another, as ``calculate_wer.py --json`` writes it under ``against``."""

    wer_difference: float
    ci: tuple[float, float]  # 95 %, paired bootstrap
    p: float  # of the paired permutation test
    p_adjusted: float  # for the number of comparisons


def read_predictions(path: Path) -> list[Prediction]:
    """The entries of a ``test_predictions.json``, checked: a JSON list, each with text in id, reference, hypothesis.

    A number as id becomes text. What the trainer's public origin writes, {split: {"predictions", "labels"}}, is read
    too, with its "uuids" as ids where it has them. Raises UserError, naming the file and the first entry that is wrong.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: expected a test_predictions.json, found a folder; name the file in it")
    rows = read_json(path, None)
    if isinstance(rows, dict) and rows and all(map(_is_split, rows.values())):
        rows = _rows_of_splits(path, rows)
    if not isinstance(rows, list) or not rows:
        found = "an empty list" if rows == [] else f"a JSON {type(rows).__name__}"
        raise UserError(f"{path}: expected a list of predictions, found {found}; run the trainer with --do_generate")
    predictions: dict[str, Prediction] = {}
    for number, row in enumerate(rows, 1):
        try:
            prediction = _to_prediction(row, predictions.keys())
        except ValueError as error:
            raise UserError(
                f"{path}: prediction {number}: {error}; run the trainer with --do_generate again"
            ) from error
        predictions[prediction.id] = prediction
    return list(predictions.values())


def _is_split(value: object) -> bool:
    texts = [value.get(name) for name in ("predictions", "labels")] if isinstance(value, dict) else [None]
    return all(isinstance(some, list) for some in texts)


def _rows_of_splits(path: Path, splits: dict[str, dict[str, list]]) -> list[dict[str, object]]:
    """Entries of {split: {"predictions", "labels"}}; an id begins with its split where there are several."""
    rows = []
    for split, found in splits.items():
        predictions, labels = found["predictions"], found["labels"]
        names = found.get("uuids") or [f"{number:06d}" for number in range(len(labels))]
        if not len(predictions) == len(labels) == len(names):
            raise UserError(
                f"{path}, {split}: expected as many predictions as labels, found {len(predictions)} and {len(labels)}, "
                f"with {len(names)} ids; run the trainer with --do_generate again"
            )
        prefix = f"{split}_" if len(splits) > 1 or "uuids" not in found else ""
        rows += [
            {"id": f"{prefix}{name}", "reference": label, "hypothesis": text}
            for name, label, text in zip(names, labels, predictions)
        ]
    return rows


def _to_prediction(row: object, known_ids: Set[str]) -> Prediction:
    """Raises ValueError that says what is wrong with the row."""
    fields = Prediction._fields
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with {', '.join(fields)}, found {row!r:.60}")
    if type(row.get("id")) is int:
        row = row | {"id": str(row["id"])}
    for field in fields:
        if not isinstance(row.get(field), str):
            found = repr(row[field])[:60] if field in row else "none"
            raise ValueError(f"expected text in '{field}', found {found}")
    prediction = Prediction(*(row[field] for field in fields))
    if prediction.id in known_ids:
        raise ValueError(f"expected each id once, found '{prediction.id}' again")
    return prediction


def count_search_errors(path: Path) -> tuple[int, int] | None:
    """(search errors, wrong utterances that were looked at) of a ``test_predictions.json``; None where it tells none.

    A search error: the reference scores better than what was written, by the measure of the search.
    """
    noted = [row["search_error"] for row in read_json(path, None) if "search_error" in row]
    return (sum(map(bool, noted)), len(noted)) if noted else None


def normalise_predictions(predictions: Sequence[Prediction], normalise: Callable[[str], str]) -> list[Prediction]:
    """The predictions with normalised ``reference`` and ``hypothesis``."""
    bar = tqdm(predictions, desc="normalising", unit="utterance", unit_scale=True, disable=None, leave=False)
    return [Prediction(name, normalise(reference), normalise(hypothesis)) for name, reference, hypothesis in bar]


def count_errors(predictions: Sequence[Prediction]) -> np.ndarray:
    """(U, 6) int64 of each utterance: substitutions, deletions, insertions, words, character edits, characters."""
    bar = tqdm(predictions, desc="aligning", unit="utterance", unit_scale=True, disable=None, leave=False)
    rows = [_count_utterance(reference, hypothesis) for _, reference, hypothesis in bar]
    return np.array(rows, np.int64).reshape(-1, N_COLUMNS)


def _count_utterance(reference: str, hypothesis: str) -> tuple[int, ...]:
    n_characters = len(split_characters(reference))
    return *count_word_edits(reference, hypothesis), character_distance(reference, hypothesis), n_characters


def word_columns(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(U, 6) counts -> (U,) word edits and (U,) words, for ``evaluation.bootstrap``."""
    return counts[:, :3].sum(1), counts[:, 3]


def summarise_errors(counts: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> ErrorRates:
    """(U, 6) counts -> rates of the corpus with bootstrap intervals over utterances."""
    words = bootstrap_ratio(*word_columns(counts), n_resamples=n_resamples, seed=seed)
    characters = bootstrap_ratio(counts[:, 4], counts[:, 5], n_resamples=n_resamples, seed=seed)
    substitutions, deletions, insertions, n_words, _, n_characters = counts.sum(0).tolist()
    return ErrorRates(
        wer=words.mean,
        cer=characters.mean,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        n_words=n_words,
        n_utterances=len(counts),
        wer_ci=(words.low, words.high),
        cer_ci=(characters.low, characters.high),
        n_characters=n_characters,
    )


def order_like_first(
    first: Sequence[Prediction], other: Sequence[Prediction], names: tuple[str, str]
) -> list[Prediction]:
    """``other`` in the order of ``first``, both normalised; they must hold the same ids and references.

    names: of both, for the errors. Raises UserError that names what differs.
    """
    by_id, ids = {item.id: item for item in other}, {item.id for item in first}
    for name, extra in ((names[0], ids - by_id.keys()), (names[1], by_id.keys() - ids)):
        if extra:
            raise UserError(
                f"{names[1]} and {names[0]}: expected the same utterances, found {len(extra)} only in {name}: "
                f"{name_some(sorted(extra), MAX_LISTED_IDS)}; {ONE_SET}"
            )
    differing = [item.id for item in first if item.reference != by_id[item.id].reference]
    if differing:
        raise UserError(
            f"{names[1]} and {names[0]}: expected the same references, found {len(differing)} that differ: "
            f"{name_some(sorted(differing), MAX_LISTED_IDS)}; {ONE_SET}"
        )
    return [by_id[item.id] for item in first]


def compare_errors(
    first: np.ndarray, others: Sequence[np.ndarray], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> list[ErrorDifference]:
    """WER of each of ``others`` minus that of ``first``, all (U, 6) counts of the same utterances in the same order."""
    reference = word_columns(first)
    columns = [word_columns(other) for other in others]
    intervals = [paired_ratio_difference(words, reference, n_resamples=n_resamples, seed=seed) for words in columns]
    p_values = [permutation_p(edits - reference[0], seed=seed) for edits, _ in columns]
    return [
        ErrorDifference(interval.mean, (interval.low, interval.high), p, adjusted)
        for interval, p, adjusted in zip(intervals, p_values, adjust_for_many(p_values))
    ]
