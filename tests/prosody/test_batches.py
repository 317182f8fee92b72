"""What the predictor learns from: statistics of a corpus, and batches as functions of the step."""

import numpy as np
import torch

import pytest

from audio.pitch import fill_f0_cache
from core.frames import UNIT_RATE
from models.prosody_predictor import duration_classes
from prosody import batches
from prosody.batches import (
    CORPUS,
    FEWEST_VOICED_FRAMES,
    ProsodyTable,
    choose_counted,
    collate_prosody,
    count_crops,
    crop_utterance,
    draw_batch,
    duration_statistics,
    fold_of,
    load_prosody_utterances,
    normalise_f0,
    pitch_statistics,
)
from prosody.habits import cross_habits
from prosody_examples import NO_HABITS, make_utterances
from units.corpus import expand, read_corpus


def test_class_durations_make_the_expected_total_the_true_total() -> None:
    utterances = [make_utterances()[0]._replace(durations=np.array([1, 1, 2, 20, 21, 300, 500]))]
    means, prior = duration_statistics(utterances)
    durations = torch.from_numpy(utterances[0].durations)
    assert means[duration_classes(durations)].sum() == durations.sum()
    assert means[duration_classes(torch.tensor(5))] == 5, "a class that never occurs keeps its middle"
    assert prior[0].exp() == pytest.approx(2 / 7) and prior[4].exp() < 0.002


def test_statistics_and_normalisation_by_speaker() -> None:
    utterances = make_utterances()
    statistics = pitch_statistics(utterances)
    assert statistics["ana"][0] - statistics["rui"][0] == pytest.approx(np.log(2), abs=0.1)
    for utterance in utterances[:2]:
        normalised = normalise_f0(utterance.f0, statistics, utterance.speaker)
        assert normalised[utterance.f0 > 0].mean() == pytest.approx(0, abs=1e-5)
        assert normalised[utterance.f0 > 0].std() == pytest.approx(1, abs=1e-4)
        assert (normalised[utterance.f0 == 0] == 0).all()
    brief = utterances[0]._replace(speaker="eva", f0=utterances[0].f0[: FEWEST_VOICED_FRAMES // 2])
    assert "eva" not in pitch_statistics([*utterances, brief])
    assert list(pitch_statistics([brief._replace(f0=np.zeros(200, np.float32))])) == [CORPUS]


def test_a_batch_is_a_function_of_the_step() -> None:
    utterances = make_utterances((300, 100, 40))
    crops = count_crops(utterances, 50)
    assert np.bincount(crops).tolist() == [6, 2, 1]
    flags = {"batch_size": 4, "crop_units": 50, "seed": 3, "habits": NO_HABITS}
    draw = [draw_batch(utterances, crops, pitch_statistics(utterances), ["ana"], step=s, **flags) for s in (5, 6, 5)]
    assert all(torch.equal(first, again) for first, again in zip(draw[0], draw[2]))
    assert not torch.equal(draw[0].units, draw[1].units)
    frames = draw[0].durations.sum(1)
    assert (draw[0].mask.sum(1) == frames).all()
    units = [expand(u[u >= 0].numpy(), d[u >= 0].numpy()) for u, d in zip(draw[0].units, draw[0].durations)]
    for row, expected in enumerate(units):
        voiced = draw[0].voiced[row, : len(expected)].numpy() > 0
        assert (voiced == (expected % 2 == 0)).all(), "F0 and units should stay aligned in a crop"


def test_padding_is_no_unit_and_no_frame() -> None:
    utterances = make_utterances((9, 4), ("ana", None))
    crops = [crop_utterance(u, slice(0, 9), pitch_statistics(utterances), NO_HABITS[0]) for u in utterances]
    batch = collate_prosody(crops, ["rui", "ana"])
    assert batch.units.shape == batch.durations.shape == (2, 9) and (batch.units[1, 4:] == -1).all()
    assert batch.mask.sum(1).tolist() == batch.durations.sum(1).tolist() == [len(u.f0) for u in utterances]
    assert not batch.voiced[batch.mask == 0].any() and not batch.log_f0[batch.mask == 0].any()
    assert batch.speaker_row.tolist() == [2, 0]
    kinds = [torch.int64, torch.int64, torch.float32, torch.float32, torch.float32, torch.int64, torch.float32]
    assert [tensor.dtype for tensor in batch] == kinds


def test_a_crop_has_the_frames_of_its_units() -> None:
    utterance = make_utterances()[0]
    crop = crop_utterance(utterance, slice(10, 40), pitch_statistics([utterance]), NO_HABITS[0])
    first = utterance.durations[:10].sum()
    assert (crop.units == utterance.units[10:40]).all() and len(crop.voiced) == crop.durations.sum()
    assert (crop.voiced == (utterance.f0[first : first + len(crop.voiced)] > 0)).all()


def test_a_corpus_is_read_when_it_is_asked_for(tiny_units: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table gives what a list of all its utterances gives, and holds none of them."""
    cache = tiny_units["data"] / "spanish" / "cache"
    fill_f0_cache(cache, [(row["id"], tiny_units["data"] / row["audio"]) for row in tiny_units["rows"]], num_workers=1)
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    table = load_prosody_utterances(corpus, tiny_units["data"], cache, ["train"])
    rows = [row for row in read_corpus(corpus) if row["split"] == "train"]
    assert len(table) == len(rows) == 6 and [one.id for one in table[1:4]] == [row["id"] for row in rows[1:4]]
    held = list(table)
    assert [one.units.tolist() for one in held] == [row["units"] for row in rows]
    assert [one.durations.tolist() for one in held] == [row["durations"] for row in rows]
    assert table[-1].id == rows[-1]["id"] and table[0] is not table[0]
    statistics = pitch_statistics(table)
    voiced = np.log(np.concatenate([one.f0[one.f0 > 0] for one in held]).astype(np.float64))
    assert all(type(value) is float for value in statistics[CORPUS])  # a checkpoint takes nothing else
    assert len(voiced) > UNIT_RATE and statistics[CORPUS] == pytest.approx([voiced.mean(), voiced.std()])
    monkeypatch.setattr("units.utterances.COUNTED_AT_ONCE", 4)
    assert np.array_equal(
        count_crops(table, 10), np.repeat(range(6), [max(1, round(len(one.units) / 10)) for one in held])
    )
    assert np.array_equal(cross_habits(table, statistics, 12), cross_habits(held, statistics, 12))
    for first, second in zip(duration_statistics(table), duration_statistics(held)):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("speakers", "most", "fewest", "expected"),
    [
        ([0, 0, 1, 0], 4, 1, [0, 1, 2, 3]),  # no more than can be counted
        ([0] * 10, 4, 1, [0, 2, 5, 7]),  # an even spread
        ([0] * 8 + [1, -1], 6, 1, [0, 4, 8, 9]),  # two of each: nobody named is one of three
        ([0, 1, 2, 3, 0, 1, 2, 3], 4, 2, list(range(8))),  # so many speakers that each keeps the fewest
        ([1, 0, 1, 0, 1, 0, 1, 0], 4, 1, [0, 1, 4, 5]),  # two of each, wherever they stand
    ],
)
def test_averages_of_a_large_corpus_are_taken_over_each_speakers_share(
    monkeypatch: pytest.MonkeyPatch, speakers: list[int], most: int, fewest: int, expected: list[int]
) -> None:
    monkeypatch.setattr(batches, "MOST_COUNTED", most)
    monkeypatch.setattr(batches, "FEWEST_COUNTED", fewest)
    monkeypatch.setattr(batches, "speaker_numbers", np.array)
    for at_once in (1, 3, 100):
        monkeypatch.setattr(batches, "COUNTED_AT_ONCE", at_once)
        assert choose_counted(ProsodyTable(speakers)).tolist() == expected


def test_habits_of_some_rows_are_those_of_the_rows_in_their_folds() -> None:
    utterances = make_utterances()
    statistics, rows = pitch_statistics(utterances), [0, 2]
    some = cross_habits(utterances, statistics, 30, rows)
    whole = cross_habits([utterances[0], utterances[2]], statistics, 30)
    np.testing.assert_allclose(some[0], whole[0], rtol=1e-6)
    # Row 0 is of the first fold in both; row 2 is of the third, and of the second where it is the second of two.
    np.testing.assert_allclose(some[fold_of(0)], whole[fold_of(0)], rtol=1e-6)
    np.testing.assert_allclose(some[fold_of(2)], whole[fold_of(1)], rtol=1e-6)
    np.testing.assert_allclose(some[fold_of(1)], some[0], rtol=1e-6)  # nothing of this fold was counted
