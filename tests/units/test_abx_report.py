"""What is printed of the ABX errors of units."""

import numpy as np

from units.abx import AbxScore, score_abx
from units.abx_distance import angular_distance, as_unit_vectors, unequal_distance
from units.abx_report import UnitAbx, abx_lines, find_utterance_items, score_units_by_abx
from units.corpus import deduplicate, expand
from units.phone_labels import PhoneLabels
from units.phone_scores import shuffle_runs
from units.quality import Interval


def test_every_score_is_a_line_with_its_interval_in_percent() -> None:
    units = AbxScore(Interval(0.125, 0.1, 0.2), None, 9, 4)
    centroids = AbxScore(Interval(0.0625, None, None), Interval(0.25, 0.2, 0.3), 9, 4)
    nothing = AbxScore(None, None, 0, 0)
    assert abx_lines(UnitAbx("val", units, centroids, nothing)) == [
        "ABX errors within speakers on val, units: 12.5 [10.0, 20.0] %",
        "ABX errors within speakers on val, centroids: 6.2 %",
        "ABX errors across speakers on val, centroids: 25.0 [20.0, 30.0] %",
    ]


def speech(seed: int = 0) -> tuple[list[dict], PhoneLabels]:
    """Two speakers, each with two utterances of phones a b c in random order, and units that mostly follow them."""
    rng, utterances, spans = np.random.default_rng(seed), [], {}
    for place in range(4):
        phones = rng.integers(1, 4, 30)
        starts = np.arange(30) / 10
        spans[f"{place}.wav"] = starts, starts + 0.1, phones
        frames = np.where(rng.random(150) < 0.7, np.repeat(phones, 5), rng.integers(0, 6, 150))
        units, durations = deduplicate(frames)
        named = {"source": f"{place}.wav", "start": 0.0, "speaker": "ab"[place % 2]}
        utterances.append(named | {"units": units.tolist(), "durations": durations.tolist()})
    return utterances, PhoneLabels(["SIL", "a", "b", "c"], spans)


def test_units_centroids_and_shuffled_units_are_scored_on_the_same_triphones() -> None:
    (utterances, labels), settings = speech(), {"n_resamples": 5, "seed": 3}
    centroids = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
    found = score_units_by_abx(utterances, labels, centroids, split="val", **settings)
    items, units = find_utterance_items(utterances, labels)
    assert [one.tolist() for one in units] == [expand(row["units"], row["durations"]).tolist() for row in utterances]
    rng, vectors = np.random.default_rng(3), as_unit_vectors(centroids)
    assert found == (
        "val",
        score_abx(items, units, unequal_distance, **settings),
        score_abx(items, [vectors[one] for one in units], angular_distance, **settings),
        score_abx(items, [shuffle_runs(one, rng) for one in units], unequal_distance, **settings),
    )
    assert found.units.within.value < found.shuffled.within.value and found.units.n_cells > 0


def test_without_two_triphones_to_compare_there_is_no_score() -> None:
    utterances, labels = speech()
    settings = {"split": "val", "n_resamples": 0, "seed": 0}
    assert score_units_by_abx(utterances, PhoneLabels(labels.names, {}), np.eye(6), **settings) is None
    nameless = [{name: row[name] for name in ("units", "durations")} for row in utterances]
    items, units = find_utterance_items(nameless, PhoneLabels(labels.names, {"": labels.spans["0.wav"]}))
    assert len(units) == 4 and set(items.speaker) == {0} and set(items.utterance) == {0, 1, 2, 3}
    assert items.start[items.utterance == 0].tolist() == [*range(0, 140, 5)], "triphones from the beginning on"
