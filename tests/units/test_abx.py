"""ABX: fastabx's own numbers, distances by hand, and perfect, random and equal units."""

import numpy as np
import torch

import pytest

import validate_units

from core.errors import UserError
from independent_scores import make_abx_example, our_abx
from synthetic import write_units
from units.abx import Cell, _cell_error, _chunks, average_cells, find_items, list_cells, score_abx
from units.abx_distance import AbxItems, align, angular_distance, as_unit_vectors, unequal_distance
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


def test_five_other_speakers_at_most_are_asked() -> None:
    """Eight speakers of one context, each with two phones: X is of five of the seven others."""
    speakers, phones = (column.ravel() for column in np.meshgrid(np.arange(8), [1, 2], indexing="ij"))
    nothing = np.zeros(16, np.int64)
    items = AbxItems(nothing, nothing, nothing + 1, phones, nothing, speakers)
    (cells,) = list_cells(items, across=True)
    asked = {}
    for cell in cells:
        asked.setdefault(cell.key, set()).update(items.speaker[cell.x].tolist())
    assert len(asked) == 16 and {len(others) for others in asked.values()} == {5}
    assert list(list_cells(items, across=False)) == [], "one item of a phone has no other one to be compared with"
    assert list(list_cells(items._replace(phone=nothing), across=True)) == []
    (other,) = list_cells(items, across=True, seed=1)
    assert [cell.x.tolist() for cell in other] != [cell.x.tolist() for cell in cells]


def test_memory_bounds_change_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    example = make_abx_example(2)
    items = find_items(example.labels, example.spans[:6], example.speakers[:6])
    frames = [as_unit_vectors(one) for one in example.features[:6]]
    whole = score_abx(items, frames, angular_distance)
    assert whole.n_items == len(items.phone) > 0
    n_cells = [sum(map(len, list_cells(items, across=across))) for across in (False, True)]
    assert whole.n_cells == sum(n_cells) and min(n_cells) > 0
    monkeypatch.setattr("units.abx.PAIRS_AT_ONCE", 200)
    monkeypatch.setattr("units.abx_distance.ALIGNED_AT_ONCE", 20)
    parts = score_abx(items, frames, angular_distance)
    assert parts.within.value == pytest.approx(whole.within.value)
    assert parts.across.value == pytest.approx(whole.across.value) and parts[2:] == whole[2:]


def test_chunks_end_as_soon_as_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell of two X, three A and four B makes 14 pairs."""
    cell = Cell(np.arange(2), np.arange(3), np.arange(4), (0, 0, 0, 0))
    for limit, sizes in ((14, [1, 1, 1, 1]), (15, [2, 2]), (28, [2, 2]), (29, [3, 1]), (99, [4])):
        monkeypatch.setattr("units.abx.PAIRS_AT_ONCE", limit)
        assert [len(chunk) for chunk in _chunks([[cell]] * 4)] == sizes


def test_a_draw_counts_half_and_an_item_is_not_its_own_neighbour() -> None:
    own = np.array([[np.inf, 0.2], [0.4, np.inf]])
    other = np.array([[0.3, 0.2], [0.1, 0.4]])
    # The first: 0.2 is right against 0.3, a draw with 0.2. The second: 0.4 is wrong against 0.1, a draw with 0.4.
    assert _cell_error(own, other, same=True) == pytest.approx(1 - (1.5 + 0.5) / 4)
    assert _cell_error(np.array([[0.2], [0.4]]), other, same=False) == pytest.approx(1 - (1.5 + 0.5) / 4)


@pytest.mark.parametrize(("gap", "found"), [(0.0, 1), (0.009, 1), (0.011, 0)])
def test_phones_are_neighbours_within_a_step(gap: float, found: int) -> None:
    starts = np.array([0.1, 0.2 + gap, 0.3 + gap])
    labels = PhoneLabels(["SIL", "a", "b"], {"x": (starts, np.array([0.2, 0.3 + gap, 0.41]), np.array([1, 2, 1]))})
    items = find_items(labels, [("x", 0.0, 99)], ["s"])
    assert len(items.phone) == found
    if found:
        # Middles of frames lie at 10, 30, 50 … ms: those from 110 to 410 ms.
        assert (items.start[0], items.stop[0], items.phone[0], items.context[0]) == (5, 21, 2, 1 * 3 + 1)
        # A second utterance that begins within the triphone, or ends before its last frame, does not hold it.
        spans = [("x", 0.0, 21), ("x", 0.0, 20), ("x", 0.1, 99), ("x", 0.12, 99)]
        assert find_items(labels, spans, ["s"] * 4).utterance.tolist() == [0, 2]


def test_an_interval_draws_contexts_again() -> None:
    keys = np.array([[context, 1, 2, 0] for context in range(30)])
    errors = np.random.default_rng(0).random(30)
    found, mean = average_cells(keys, errors, n_resamples=200, seed=3), errors.mean()
    drawn = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), size=200)
    means = (drawn @ errors) / 30
    low, high = np.quantile(means, [0.025, 0.975])
    assert found == pytest.approx((mean, low - means.mean() + mean, high - means.mean() + mean))


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
