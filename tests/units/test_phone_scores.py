"""Units against phones: values by hand, DiscoPhon's own numbers, controls that must lose, and the table of phones."""

import numpy as np

import pytest

import validate_units

from core.errors import UserError
from independent_scores import N_PHONES, N_UNITS, discophon_scores, make_example, our_scores
from synthetic import write_units
from units.corpus import deduplicate
from units.phone_labels import SILENCE, phones_at, read_phones
from units.phone_report import LabelledUtterance, PhoneSummary, label_utterances, summarize_phones
from units.phone_scores import (
    Hits,
    change_times,
    cluster_purity,
    count_phones,
    find_boundaries,
    merge_repeats,
    phone_errors,
    phone_of_units,
    phone_purity,
    pnmi,
    random_cuts,
    score_boundaries,
    shuffle_runs,
)

# discophon 0.2.0 on Python 3.12: OTHER/bin/python scripts/bench/independent_scores.py
DISCOPHON = {
    "pnmi": 0.4218705983454377,
    "per": 2.7098765432098766,
    "f1": 0.4175531914893617,
    "r_val": -1.3812508603812348,
}


def summary_of(utterances: list[LabelledUtterance], **settings: int) -> PhoneSummary:
    return summarize_phones(
        utterances, n_units=N_UNITS, n_phones=N_PHONES, **({"n_resamples": 0, "seed": 0} | settings)
    )


def test_scores_are_those_of_discophon() -> None:
    assert our_scores(make_example(), N_UNITS, N_PHONES) == pytest.approx(DISCOPHON, abs=1e-12)


def test_scores_are_those_of_the_installed_discophon() -> None:
    pytest.importorskip("discophon")
    example = make_example(1), N_UNITS, N_PHONES
    assert our_scores(*example) == pytest.approx(discophon_scores(*example), abs=1e-12)


def test_table_scores_by_hand() -> None:
    table = count_phones(np.array([0, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1, 1, 1]), 4, 2)
    assert table.tolist() == [[2, 1, 0, 0], [0, 1, 4, 0]]
    assert phone_purity(table) == pytest.approx(7 / 8) and cluster_purity(table) == pytest.approx(6 / 8)
    entropy = -(3 / 8) * np.log2(3 / 8) - (5 / 8) * np.log2(5 / 8)
    assert pnmi(table) == pytest.approx((entropy - 2 / 8) / entropy)  # one bit is left open in two steps of eight
    # Unit 1 is drawn between both, unit 3 is never used: the commoner phone.
    assert phone_of_units(table).tolist() == [0, 1, 1, 1]
    assert pnmi(np.array([[3, 2], [0, 0]])) == 0.0 and pnmi(np.stack([table, table * 2])).shape == (2,)
    assert pnmi(np.zeros((0, 2, 4))).shape == (0,)
    with pytest.raises(ValueError, match="2 phones a frame"):
        count_phones(np.array([0, 1]), np.array([0, 0, 0]), 4, 2)
    with pytest.raises(ValueError, match="found 5 for 2 frames"):
        count_phones(np.array([0, 1]), np.array([0, 0, 0, 0, 0]), 4, 2)


def test_phone_errors_count_edits_of_merged_phones() -> None:
    assert merge_repeats(np.array([3, 3, 0, 3, 3])).tolist() == [3, 0, 3] and len(merge_repeats(np.array([]))) == 0
    assert phone_errors(np.array([1, 1, 2, 2, 1]), np.array([1, 2, 2, 3])) == (1, 3)
    assert phone_errors(np.array([1, 2, 1, 2]), np.array([1, 1, 2, 2])) == (2, 2)


@pytest.mark.parametrize(
    ("cuts", "boundaries", "hits"),
    [
        ([80, 120, 121], [100], 1),  # 20 ms on either side, and two cuts near one boundary are one hit
        ([79, 121], [100], 0),
        ([110], [100, 120], 1),  # the middle belongs to the earlier boundary, and to it alone
        ([111], [100, 120], 1),
        ([110, 111], [100, 120], 2),
        ([], [100], 0),
        ([100], [], 0),
    ],
)
def test_a_cut_counts_for_one_boundary_at_most(cuts: list[int], boundaries: list[int], hits: int) -> None:
    assert find_boundaries(np.array(cuts), np.array(boundaries)) == Hits(hits, len(cuts), len(boundaries))


def test_boundary_scores_by_hand() -> None:
    assert change_times(np.array([5, 5, 6, 5]), 20).tolist() == [40, 60]
    found = score_boundaries(Hits(3, 6, 4))
    assert found[:3] == pytest.approx((0.5, 0.75, 0.6)) and found.cuts_a_boundary == 1.5
    assert found.r_value == pytest.approx(1 - (np.hypot(0.25, 0.5) + 0.75 / np.sqrt(2)) / 2)
    assert score_boundaries(Hits(4, 4, 4))[:4] == pytest.approx((1, 1, 1, 1))
    assert score_boundaries(Hits(0, 0, 0))[:3] == (0, 0, 0) == score_boundaries(Hits(0, 5, 0))[:3]
    assert np.isfinite(score_boundaries(Hits(0, 5, 0))).all() and score_boundaries(Hits(0, 0, 4))[:3] == (0, 0, 0)
    columns = score_boundaries(Hits(*np.array([[3, 6, 4], [4, 4, 4]]).T))
    assert columns.f1 == pytest.approx([0.6, 1.0])


def test_controls_keep_number_and_durations() -> None:
    rng, units = np.random.default_rng(0), np.array([1, 1, 2, 3, 3, 3, 2])
    shuffled = shuffle_runs(units, rng)
    assert np.bincount(shuffled).tolist() == np.bincount(units).tolist()
    runs = np.array([1, 1, 2, 3, 3, 3, 4, 5, 5])
    for _ in range(5):
        assert sorted(zip(*deduplicate(shuffle_runs(runs, rng)))) == [(1, 2), (2, 1), (3, 3), (4, 1), (5, 2)]
    cuts = random_cuts(30, 40, rng)
    assert len(np.unique(cuts)) == 30 and (np.diff(cuts) > 0).all() and 20 <= cuts.min() <= cuts.max() <= 780


def test_controls_lose_and_intervals_hold_the_value() -> None:
    halved = [one._replace(frame_units=one.frame_units // 2) for one in make_example(2, n_utterances=30)]
    found = summary_of(halved, n_resamples=200)
    assert found.pnmi.low < found.pnmi.value < found.pnmi.high < found.pnmi.low + 0.1
    assert found.controls.pnmi.high < 0.05 < found.pnmi.low
    assert found.controls.random_cuts.f1.high < found.unit_boundaries.f1.low
    assert found.controls.random_cuts.cuts_a_boundary == found.unit_boundaries.cuts_a_boundary
    assert found.controls.phone_purity.high < found.phone_purity.low


def test_perfect_units_have_perfect_scores() -> None:
    exact = [one._replace(frame_units=one.phones[::2], phones=one.phones[::2].repeat(2)) for one in make_example(3)]
    found = summary_of(exact)
    assert found.pnmi == (pytest.approx(1), None, None)
    values = (found.phone_purity, found.cluster_purity, *found.unit_boundaries[:4], *found.phone_boundaries[:4])
    assert [interval.value for interval in values] == pytest.approx([1] * 10)
    assert found.phone_error_rate.value == 0


def write_phones(path, *rows: str):
    path.write_text("source\tstart\tend\tphone\tstress\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_phones_are_read_in_the_middle_of_each_step(tmp_path) -> None:
    rows = ("a.wav\t0\t0.014\tpau\t", "a.wav\t0.014\t0.036\taa\t1", "a.wav\t0.052\t0.09\tb\t", "b.wav\t0\t1\tSIL\t")
    labels = read_phones(write_phones(tmp_path / "phones.tsv", *rows))
    assert labels.names == [SILENCE, "aa", "b"]
    assert phones_at(labels, "a.wav", 0.0, 8).tolist() == [0, 1, 1, 1, 0, 2, 2, 2]
    assert phones_at(labels, "a.wav", 0.03, 8).tolist() == [1, 0, 2, 2, 2, 2, 0, 0]
    assert phones_at(labels, "b.wav", 0.0, 8) is None and phones_at(labels, "c.wav", 0.0, 8) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav\t0.1\t0.1\tb\t", "line 3: expected 0 <= start < end"),
        ("a.wav\tx\t0.1\tb\t", "line 3: expected seconds"),
        ("a.wav\t0.05\t0.3\tb\t", "one phone at a time"),
    ],
)
def test_broken_tables_are_refused(tmp_path, row: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_phones(write_phones(tmp_path / "phones.tsv", "a.wav\t0\t0.1\ta\t", row))
    with pytest.raises(UserError, match="expected phones, found none"):
        read_phones(write_phones(tmp_path / "phones.tsv", "a.wav\t0\t0.1\tpau\t"))
    with pytest.raises(UserError, match="expected a table"):
        read_phones(tmp_path / "other.tsv")


def test_utterances_take_the_phones_of_their_recording(tmp_path) -> None:
    labels = read_phones(write_phones(tmp_path / "phones.tsv", "a.wav\t0\t1.02\ta\t", "a.wav\t1.02\t2\tb\t"))
    known = {"split": "test", "source": "a.wav", "units": [4, 1], "durations": [1, 2]}
    found, n_without = label_utterances(
        [known | {"start": 1.0}, known | {"start": 5.0}, {**known, "source": "x"}], labels
    )
    assert (
        n_without == 2 and found[0].phones.tolist() == [1, 1, 2, 2, 2, 2] and found[0].frame_units.tolist() == [4, 1, 1]
    )


def test_the_report_has_phones_where_the_language_has(tiny_language: dict, capsys: pytest.CaptureFixture) -> None:
    exp, rows = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12), tiny_language["rows"]
    assert validate_units.find_phones(exp, "spanish", None) is None
    labelled = [row for row in rows if row["split"] != "val"]
    table = write_phones(
        tiny_language["data"] / "spanish" / "phones.tsv",
        *(f"{row['source']}\t{start}\t{start + 0.5}\tp{start}\t" for row in labelled for start in (0.0, 0.5, 1.0)),
    )
    assert validate_units.find_phones(exp, "spanish", None) == table
    report = validate_units.build_unit_report(exp, n_resamples=20, seed=0, phones=table)
    assert list(report.phones) == ["train", "test", "all"] and report.phones["test"].n_phones == 4
    validate_units.print_report(report)
    printed = capsys.readouterr()
    assert "PNMI" in printed.out and "random cuts" in printed.out
    assert validate_units.build_unit_report(exp, n_resamples=0, seed=0).phones is None
