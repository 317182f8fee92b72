"""ABX: fastabx's own numbers, distances by hand, and perfect, random and equal units."""

import numpy as np
import torch

import pytest

import validate_units

from core.errors import UserError
from independent_scores import make_abx_example, our_abx
from synthetic import write_units
from units.abx import average_cells, find_items, list_cells, score_abx
from units.abx_distance import align, angular_distance, as_unit_vectors, unequal_distance
from units.phone_labels import PhoneLabels

# fastabx 0.9.0, torchdtw 0.4.2 on Python 3.12: OTHER/bin/python scripts/bench/independent_scores.py
FASTABX = {
    "units_within": 0.34836913272738457,
    "units_across": 0.3788033549984296,
    "features_within": 0.282587173084418,
    "features_across": 0.29204461475213367,
}


def test_errors_are_those_of_fastabx() -> None:
    assert our_abx(make_abx_example()) == pytest.approx(FASTABX, abs=1e-6)


def test_errors_are_those_of_the_installed_fastabx() -> None:
    pytest.importorskip("fastabx")
    from independent_scores import fastabx_scores

    assert our_abx(make_abx_example(1)) == pytest.approx(fastabx_scores(make_abx_example(1)), abs=1e-6)


@pytest.mark.parametrize(
    ("lattice", "mean"),
    [
        ([[0.5]], 0.5),
        ([[1, 2, 3]], 2.0),  # one frame against three
        ([[0, 9], [9, 4]], 2.0),  # straight on: two steps
        ([[0, 1, 9], [9, 0, 9], [9, 0, 4]], 4 / 3),  # straight on again: three steps cost 4
        ([[0, 0], [0, 0]], 0.0),
    ],
)
def test_alignment_by_hand(lattice: list[list[float]], mean: float) -> None:
    wider = torch.nn.functional.pad(torch.tensor([lattice, lattice], dtype=torch.float32), (0, 2), value=-1.0)
    found = align(wider, torch.tensor([len(lattice[0])] * 2))
    assert found.tolist() == pytest.approx([mean] * 2) and mean == pytest.approx(_slow_alignment(lattice))


def _slow_alignment(lattice: list[list[float]]) -> float:
    """The same by its definition: all paths, the cheapest, of those the one that goes back diagonally longest."""
    best = {}
    for i, row in enumerate(lattice):
        for j, cost in enumerate(row):
            before = [best[place] for place in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if place in best]
            least = min(before, key=lambda one: one[0], default=(0.0, 0))
            best[i, j] = least[0] + cost, least[1] + 1
    total, length = best[len(lattice) - 1, len(lattice[0]) - 1]
    return total / length


def test_distances_of_frames_by_hand() -> None:
    one, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.0]])
    assert angular_distance(one[None], other[None]).tolist() == [[[1.0], [0.5]]]
    assert unequal_distance(torch.tensor([[3, 4]]), torch.tensor([[4, 3]])).tolist() == [[[1, 0], [0, 1]]]
    assert as_unit_vectors(np.array([[3.0, 4.0], [0, 0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]


def test_items_are_triphones_without_silence_and_gaps() -> None:
    starts = np.array([0.0, 0.1, 0.2, 0.3, 0.42, 0.5, 0.6])
    ends = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    labels = PhoneLabels(["SIL", "a", "b"], {"x": (starts, ends, np.array([1, 2, 1, 2, 1, 2, 0]))})
    items = find_items(
        labels, [("x", 0.0, 35), ("x", 0.105, 100), ("x", 0.0, 15), ("y", 0.0, 9)], ["s", "s", None, "s"]
    )
    # Of the first: 0-0.3 and 0.1-0.4 s; behind the gap only two phones are left before the silence.
    assert list(zip(items.utterance, items.start, items.stop, items.phone)) == [
        (0, 0, 15, 2),
        (0, 5, 20, 1),
        (1, 0, 15, 1),
        (2, 0, 15, 2),
    ]
    assert items.speaker.tolist() == [1, 1, 1, 0]


def test_equal_units_make_errors_by_half_and_random_ones_nearly() -> None:
    example = make_abx_example(2)
    units = example.units[:5]
    items = find_items(example.labels, example.spans[:5], example.speakers[:5])
    equal = score_abx(items, [np.zeros_like(one) for one in units], unequal_distance)
    assert equal.within.value == equal.across.value == 0.5 and equal.n_cells > 0
    rng = np.random.default_rng(0)
    random = score_abx(items, [rng.integers(1000, size=len(one)) for one in units], unequal_distance, n_resamples=50)
    assert random.within.low < 0.52 and random.within.high > 0.48


def test_cells_within_and_across_speakers() -> None:
    example = make_abx_example(3)
    items = find_items(example.labels, example.spans, example.speakers)
    for across in (False, True):
        for cell in (cell for cells in list_cells(items, across=across) for cell in cells):
            context, phone, other, speaker = cell.key
            assert set(items.phone[cell.x]) == set(items.phone[cell.a]) == {phone} and set(items.phone[cell.b]) == {
                other
            }
            assert set(items.context[np.concatenate(cell[:3])]) == {context}
            assert set(items.speaker[np.concatenate(cell[1:3])]) == {speaker}
            assert len(set(items.speaker[cell.x])) == 1 and (speaker in items.speaker[cell.x]) != across
    alone = score_abx(items._replace(speaker=np.zeros_like(items.speaker)), example.units, unequal_distance)
    assert alone.across is None and alone.within.low is None


def test_means_are_over_contexts_then_speakers_then_phones() -> None:
    keys = np.array([[0, 1, 2, 0], [1, 1, 2, 0], [0, 1, 2, 1], [0, 2, 1, 0]])
    assert average_cells(keys, np.array([0.1, 0.3, 0.4, 0.9])).value == pytest.approx(((0.2 + 0.4) / 2 + 0.9) / 2)
    assert average_cells(keys[:0], np.zeros(0)) is None


def test_the_report_has_abx_where_asked_for(tiny_language: dict, capsys: pytest.CaptureFixture) -> None:
    exp = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12)
    np.savez(exp / "kmeans.npz", centroids=np.eye(12), mean=np.zeros(12), scale=np.ones(12))
    with pytest.raises(UserError, match="--abx: expected phones"):
        validate_units.build_unit_report(exp, n_resamples=0, seed=0, abx="test")
    table = tiny_language["data"] / "spanish" / "phones.tsv"
    rng = np.random.default_rng(0)
    spoken = [
        f"{row['source']}\t{place / 10}\t{place / 10 + 0.1}\t{'abc'[rng.integers(3)]}\n"
        for row in tiny_language["rows"]
        for place in range(20)
    ]
    table.write_text("source\tstart\tend\tphone\n" + "".join(spoken))
    report = validate_units.build_unit_report(exp, n_resamples=10, seed=0, phones=table, abx="all")
    assert report.abx.units.across is None and 0 < report.abx.shuffled.within.value < 1
    validate_units.print_report(report)
    assert "ABX errors within speakers on all, centroids" in capsys.readouterr().out
