"""Units of a corpus judged by ABX: as they are, as centroids, and with their runs shuffled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.records import Utterance
from units.abx import AbxItems, AbxScore, find_items, score_abx
from units.abx_distance import angular_distance, as_unit_vectors, unequal_distance
from units.corpus import expand
from units.phone_labels import PhoneLabels
from units.phone_scores import shuffle_runs
from units.quality import Interval


class UnitAbx(NamedTuple):
    """``abx`` of ``unit_report.json``."""

    split: str
    units: AbxScore  # two units are equal or not: DiscoPhon's
    centroids: AbxScore  # their angle: near units are near sounds
    shuffled: AbxScore  # as units, runs in random order: chance


def find_utterance_items(utterances: Sequence[Utterance], labels: PhoneLabels) -> tuple[AbxItems, list[np.ndarray]]:
    """The triphones of some utterances of a corpus, and the (F,) units of each utterance."""
    units = [expand(one["units"], one["durations"]) for one in utterances]
    spans = [(one.get("source", ""), one.get("start", 0.0), len(found)) for one, found in zip(utterances, units)]
    return find_items(labels, spans, [one.get("speaker") for one in utterances]), units


def score_units_by_abx(
    utterances: Sequence[Utterance],
    labels: PhoneLabels,
    centroids: np.ndarray,
    *,
    split: str,
    n_resamples: int,
    seed: int,
) -> UnitAbx | None:
    """Error rates of the utterances' units with (K, D) ``centroids``; None where no two triphones can be compared."""
    items, units = find_utterance_items(utterances, labels)
    rng, settings = np.random.default_rng(seed), {"n_resamples": n_resamples, "seed": seed}
    vectors = as_unit_vectors(centroids)
    found = score_abx(items, units, unequal_distance, **settings)
    if not found.n_cells:
        return None
    return UnitAbx(
        split,
        found,
        score_abx(items, [vectors[one] for one in units], angular_distance, **settings),
        score_abx(items, [shuffle_runs(one, rng) for one in units], unequal_distance, **settings),
    )


def abx_lines(found: UnitAbx) -> list[str]:
    """What is printed: one line a score."""
    scores = {"units": found.units, "centroids": found.centroids, "shuffled units": found.shuffled}
    return [
        f"ABX errors {where} speakers on {found.split}, {title}: {_percent(interval)}"
        for title, score in scores.items()
        for where, interval in (("within", score.within), ("across", score.across))
        if interval
    ]


def _percent(interval: Interval) -> str:
    bounds = "" if interval.low is None else f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    return f"{100 * interval.value:.1f}{bounds} %"
