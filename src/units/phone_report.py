"""Units of a corpus judged by its phones: every score of ``units.phone_scores`` with its interval and its control.

Intervals are bootstrap 95 % over utterances, moved as in ``units.quality.with_interval``. Phones of units are found on
the utterances that are scored (DiscoPhon's way) and stay as they are in the resamples. Axes: U utterances, R resamples,
P phones, K units.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scipy.sparse import csr_array

from core.frames import UNIT_RATE
from core.records import Utterance
from units.corpus import expand
from units.phone_labels import PhoneLabels, phones_at
from units.phone_scores import (
    FRAME_MS,
    STEP_MS,
    STEPS_A_FRAME,
    BoundaryScores,
    Hits,
    change_times,
    cluster_purity,
    count_phones,
    find_boundaries,
    phone_codes,
    phone_errors,
    phone_of_units,
    phone_purity,
    pnmi,
    random_cuts,
    score_boundaries,
    shuffle_runs,
)
from units.quality import Interval, with_interval

RESAMPLED_CELLS = 1 << 24  # of phone-by-unit tables held at once: 128 MB


class LabelledUtterance(NamedTuple):
    """One utterance in memory, with the phones of its recording."""

    split: str
    frame_units: np.ndarray  # (F,) int64
    phones: np.ndarray  # (2 F,) int64, every 10 ms


class PhoneControls(NamedTuple):
    """The same scores where nothing is to be found: runs of units in random order, and cuts at random."""

    pnmi: Interval
    phone_purity: Interval
    phone_error_rate: Interval
    random_cuts: BoundaryScores


class PhoneSummary(NamedTuple):
    """Units against phones on one split."""

    n_utterances: int
    seconds: float
    n_phones: int  # kinds, with the silence
    phones_a_second: float
    pnmi: Interval
    phone_purity: Interval
    cluster_purity: Interval
    phone_error_rate: Interval  # each unit read as its commonest phone
    unit_boundaries: BoundaryScores  # where the unit changes, against where the phone changes; of Intervals
    phone_boundaries: BoundaryScores  # where the phone that the units are read as changes: DiscoPhon's
    controls: PhoneControls


def label_utterances(utterances: Iterator[Utterance], labels: PhoneLabels) -> tuple[list[LabelledUtterance], int]:
    """The utterances whose recording has phones, and the number of the others."""
    found, n_without = [], 0
    for utterance in utterances:
        frame_units = expand(utterance["units"], utterance["durations"])
        n_steps = STEPS_A_FRAME * len(frame_units)
        phones = phones_at(labels, utterance.get("source", ""), utterance.get("start", 0.0), n_steps)
        if phones is None:
            n_without += 1
        else:
            found.append(LabelledUtterance(utterance["split"], frame_units, phones))
    return found, n_without


def summarize_phones(
    utterances: Sequence[LabelledUtterance], *, n_units: int, n_phones: int, n_resamples: int, seed: int
) -> PhoneSummary:
    """All scores of some utterances; ``n_resamples`` of 0 leaves the intervals out. ValueError for none."""
    if not utterances:
        raise ValueError("expected utterances with phones, found none")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(utterances), np.full(len(utterances), 1 / len(utterances)), size=n_resamples)
    tables, errors, read_as = _score_units(utterances, n_units, n_phones, weights)
    shuffled = [one._replace(frame_units=shuffle_runs(one.frame_units, rng)) for one in utterances]
    control_tables, control_errors, _ = _score_units(shuffled, n_units, n_phones, weights)
    truths = [change_times(one.phones, STEP_MS) for one in utterances]
    changes = [change_times(one.frame_units, FRAME_MS) for one in utterances]
    read_changes = [change_times(read_as[one.frame_units], FRAME_MS) for one in utterances]
    chance = [random_cuts(len(cuts), len(one.frame_units), rng) for cuts, one in zip(changes, utterances)]
    n_frames = sum(len(one.frame_units) for one in utterances)
    kinds = len(np.unique(np.concatenate([one.phones for one in utterances])))
    return PhoneSummary(
        n_utterances=len(utterances),
        seconds=n_frames / UNIT_RATE,
        n_phones=kinds,
        phones_a_second=float((sum(map(len, truths)) + len(truths)) / n_frames * UNIT_RATE),
        **tables,
        phone_error_rate=errors,
        unit_boundaries=_boundary_intervals(changes, truths, weights),
        phone_boundaries=_boundary_intervals(read_changes, truths, weights),
        controls=PhoneControls(
            control_tables["pnmi"],
            control_tables["phone_purity"],
            control_errors,
            _boundary_intervals(chance, truths, weights),
        ),
    )


def _score_units(
    utterances: Sequence[LabelledUtterance], n_units: int, n_phones: int, weights: np.ndarray
) -> tuple[dict[str, Interval], Interval, np.ndarray]:
    """Scores of the table of phones and units, the phone error rate, and the (K,) phone of each unit."""
    whole = sum(count_phones(one.frame_units, one.phones, n_units, n_phones) for one in utterances)
    measures = {"pnmi": pnmi, "phone_purity": phone_purity, "cluster_purity": cluster_purity}
    resampled = _resampled_tables(utterances, n_units, n_phones, weights)
    values = [[measure(block) for measure in measures.values()] for block in resampled]
    columns = [np.concatenate(parts) for parts in zip(*values)] if values else [np.zeros(0)] * len(measures)
    scores = {
        name: with_interval(float(measure(whole)), column) for (name, measure), column in zip(measures.items(), columns)
    }
    read_as = phone_of_units(whole)
    counts = np.array([phone_errors(read_as[one.frame_units], one.phones) for one in utterances], np.float64)
    edits, lengths = (weights @ counts).T
    per = with_interval(float(counts[:, 0].sum() / counts[:, 1].sum()), edits / np.maximum(lengths, 1))
    return scores, per, read_as


def _resampled_tables(
    utterances: Sequence[LabelledUtterance], n_units: int, n_phones: int, weights: np.ndarray
) -> Iterator[np.ndarray]:
    """(r, P, K) tables of resamples, some at a time; (R, U) ``weights`` say how often an utterance is drawn."""
    if not len(weights):
        return
    codes = [np.unique(phone_codes(one.frame_units, one.phones, n_units), return_counts=True) for one in utterances]
    bounds = np.cumsum([0, *(len(found) for found, _ in codes)])
    columns, counts = (np.concatenate(parts) for parts in zip(*codes))
    by_utterance = csr_array((counts.astype(np.float64), columns, bounds), shape=(len(codes), n_phones * n_units))
    block = max(1, RESAMPLED_CELLS // (n_phones * n_units))
    for first in range(0, len(weights), block):
        drawn = weights[first : first + block].astype(np.float64) @ by_utterance
        yield drawn.reshape(-1, n_phones, n_units)


def _boundary_intervals(
    cuts: Sequence[np.ndarray], truths: Sequence[np.ndarray], weights: np.ndarray
) -> BoundaryScores:
    found = np.array([find_boundaries(one, truth) for one, truth in zip(cuts, truths)], np.float64)
    values = score_boundaries(Hits(*found.sum(0)))
    resampled = score_boundaries(Hits(*(weights @ found).T))
    return BoundaryScores(*(with_interval(float(value), column) for value, column in zip(values, resampled)))


def phone_rows(summary: PhoneSummary) -> dict[str, Interval | float | int]:
    """Row title -> value in per cent, for one column of the printed table."""
    cuts, read, controls = summary.unit_boundaries, summary.phone_boundaries, summary.controls
    shares = {
        "phones: PNMI, %": summary.pnmi,
        "  with runs shuffled": controls.pnmi,
        "phone purity, %": summary.phone_purity,
        "cluster purity, %": summary.cluster_purity,
        "phone error rate, %": summary.phone_error_rate,
        "  with runs shuffled (error)": controls.phone_error_rate,
        "boundaries of units: precision, %": cuts.precision,
        "  recall, %": cuts.recall,
        "  F1, %": cuts.f1,
        "  R-value, %": cuts.r_value,
        "boundaries of phones read: F1, %": read.f1,
        "  R-value, % (phones read)": read.r_value,
        "random cuts, as many: F1, %": controls.random_cuts.f1,
        "  R-value, % (random cuts)": controls.random_cuts.r_value,
    }
    return {title: _percent(interval) for title, interval in shares.items()}


def _percent(interval: Interval) -> Interval:
    return Interval(*(None if value is None else 100 * value for value in interval))
