"""Word and character error rates of what a recogniser wrote, from ``test_predictions.json``.

Rates are of the corpus: edits of all utterances over words (or characters) of all references, as jiwer defines them.
Where no reference has a word, the rate is the number of inserted words. Axes: U utterances.
"""

from collections.abc import Callable, Sequence, Set
from pathlib import Path

import numpy as np

from tqdm import tqdm

from core.errors import UserError
from core.files import read_json
from evaluation.bootstrap import (
    N_RESAMPLES,
    adjust_for_many,
    bootstrap_ratio,
    paired_ratio_difference,
    permutation_p,
)
from evaluation.text_errors import count_edits, split_characters, split_words, total_edits

FIELDS = ("id", "reference", "hypothesis")
COLUMNS = ("substitutions", "deletions", "insertions", "n_words", "character_edits", "n_characters")
NAMED = 5  # ids that an error lists


def read_predictions(path: Path) -> list[dict]:
    """The objects of a ``test_predictions.json``, checked: a JSON list, each with text in id, reference, hypothesis.

    A number as id becomes text. Raises UserError, naming the file and the first entry that is wrong.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: expected a test_predictions.json, found a folder; name the file in it")
    predictions = read_json(path)
    if not isinstance(predictions, list) or not predictions:
        found = "an empty list" if predictions == [] else f"a JSON {type(predictions).__name__}"
        raise UserError(f"{path}: expected a list of predictions, found {found}; run the trainer with --do_generate")
    checked = {}
    for number, found in enumerate(predictions, 1):
        item = found | {"id": str(found["id"])} if isinstance(found, dict) and type(found.get("id")) is int else found
        problem = _find_problem(item, checked.keys())
        if problem:
            raise UserError(f"{path}: prediction {number}: {problem}; run the trainer with --do_generate again")
        checked[item["id"]] = item
    return list(checked.values())


def _find_problem(item: object, seen: Set[str]) -> str | None:
    if not isinstance(item, dict):
        return f"expected an object with {', '.join(FIELDS)}, found {item!r:.60}"
    for field in FIELDS:
        if not isinstance(item.get(field), str):
            return f"expected text in '{field}', found {repr(item[field])[:60] if field in item else 'none'}"
    return f"expected each id once, found '{item['id']}' again" if item["id"] in seen else None


def normalise_predictions(predictions: Sequence[dict], normalise: Callable[[str], str]) -> list[dict]:
    """The predictions with normalised ``reference`` and ``hypothesis``."""
    bar = tqdm(predictions, desc="normalising", unit="utterance", unit_scale=True, disable=None, leave=False)
    return [
        {"id": item["id"], "reference": normalise(item["reference"]), "hypothesis": normalise(item["hypothesis"])}
        for item in bar
    ]


def count_errors(predictions: Sequence[dict]) -> np.ndarray:
    """(U, 6) int64, the COLUMNS of each utterance."""
    bar = tqdm(predictions, desc="aligning", unit="utterance", unit_scale=True, disable=None, leave=False)
    return np.array([_count_utterance(item["reference"], item["hypothesis"]) for item in bar], np.int64)


def _count_utterance(reference: str, hypothesis: str) -> tuple[int, ...]:
    words = count_edits(split_words(reference), split_words(hypothesis))
    characters = count_edits(split_characters(reference), split_characters(hypothesis))
    kinds = (words["substitutions"], words["deletions"], words["insertions"])
    return *kinds, words["reference"], total_edits(characters), characters["reference"]


def word_columns(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(U, 6) counts -> (U,) word edits and (U,) words, for ``evaluation.bootstrap``."""
    return counts[:, :3].sum(1), counts[:, 3]


def summarise_errors(counts: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict:
    """(U, 6) counts -> rates with their intervals and the edits behind them, as ``calculate_wer.py --json`` writes."""
    words = bootstrap_ratio(*word_columns(counts), n_resamples=n_resamples, seed=seed)
    characters = bootstrap_ratio(counts[:, 4], counts[:, 5], n_resamples=n_resamples, seed=seed)
    totals = dict(zip(COLUMNS, counts.sum(0).tolist()))
    return {
        "wer": words["mean"],
        "cer": characters["mean"],
        "substitutions": totals["substitutions"],
        "deletions": totals["deletions"],
        "insertions": totals["insertions"],
        "n_words": totals["n_words"],
        "n_utterances": len(counts),
        "wer_ci": [words["low"], words["high"]],
        "cer_ci": [characters["low"], characters["high"]],
        "n_characters": totals["n_characters"],
    }


def order_alike(first: list[dict], other: list[dict], names: tuple[str, str]) -> list[dict]:
    """``other`` in the order of ``first``, both normalised; they must hold the same ids and references.

    names: of both, for the errors. Raises UserError that names what differs.
    """
    by_id = {item["id"]: item for item in other}
    ids = {item["id"] for item in first}
    for name, extra in ((names[0], ids - by_id.keys()), (names[1], by_id.keys() - ids)):
        if extra:
            raise UserError(
                f"{names[1]} and {names[0]}: expected the same utterances, found {len(extra)} only in {name}: "
                f"{_name_some(extra)}; give predictions of one test set, or --unpaired for a table alone"
            )
    differing = [item["id"] for item in first if item["reference"] != by_id[item["id"]]["reference"]]
    if differing:
        raise UserError(
            f"{names[1]} and {names[0]}: expected the same references, found {len(differing)} that differ: "
            f"{_name_some(differing)}; give predictions of one test set, or --unpaired for a table alone"
        )
    return [by_id[item["id"]] for item in first]


def _name_some(ids: Sequence[str] | set[str]) -> str:
    shown = sorted(ids)[:NAMED]
    return ", ".join(shown) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def compare_errors(
    first: np.ndarray, others: Sequence[np.ndarray], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> list[dict]:
    """WER of each of ``others`` minus that of ``first``, all (U, 6) counts of the same utterances in the same order.

    Returns, for each, {"wer_difference", "ci": [low, high], "p", "p_adjusted"}: a paired bootstrap interval, the paired
    permutation test, and its p-value adjusted for the number of comparisons.
    """
    reference, found = word_columns(first), []
    for other in others:
        words = word_columns(other)
        interval = paired_ratio_difference(words, reference, n_resamples=n_resamples, seed=seed)
        p = permutation_p(words[0] - reference[0], seed=seed)
        found.append({"wer_difference": interval["mean"], "ci": [interval["low"], interval["high"]], "p": p})
    adjusted = adjust_for_many([entry["p"] for entry in found])
    return [entry | {"p_adjusted": p} for entry, p in zip(found, adjusted)]
