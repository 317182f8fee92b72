"""What is reported of units against phones: numbers by hand, intervals by a plain loop, rows of the table."""

import numpy as np

import pytest

from units.phone_report import (
    LabelledUtterance,
    PhoneControls,
    PhoneSummary,
    _resampled_tables,
    phone_rows,
    summarize_phones,
)
from units.phone_scores import BoundaryScores, count_phones, phone_errors, phone_of_units
from units.quality import Interval, with_interval


def utterances(n: int = 12, *, n_units: int = 6, n_phones: int = 4, seed: int = 0) -> list[LabelledUtterance]:
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        phones = np.repeat(rng.integers(0, n_phones, 12), 4)
        noise = rng.integers(0, n_units, len(phones) // 2)
        units = np.where(rng.random(len(noise)) < 0.6, phones[::2], noise)
        made.append(LabelledUtterance("test", units, phones))
    return made


def test_the_size_of_what_was_judged() -> None:
    """Four and two frames: 0.12 s. Phones 0 1 2 and 3, one after the other: four in 0.12 s."""
    judged = [
        LabelledUtterance("test", np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1, 1, 1, 2, 2])),
        LabelledUtterance("test", np.array([2, 2]), np.array([3, 3, 3, 3])),
    ]
    found = summarize_phones(judged, n_units=3, n_phones=9, n_resamples=0, seed=0)
    assert (found.n_utterances, found.seconds, found.n_phones) == (2, pytest.approx(0.12), 4)
    assert found.phones_a_second == pytest.approx(4 / 0.12)
    # Unit 0 is read as 1, unit 1 as 1, unit 2 as 3 (the commonest of equals): 1 | 3 for 0 1 2 | 3.
    assert found.phone_error_rate.value == pytest.approx(2 / 4)
    # The unit changes at 40 ms; phones at 20 and 60 ms, each 20 ms away; the middle is the earlier one's.
    assert found.unit_boundaries[:3] == tuple(Interval(value, None, None) for value in (1.0, 0.5, pytest.approx(2 / 3)))
    with pytest.raises(ValueError, match="expected utterances with phones, found none"):
        summarize_phones([], n_units=3, n_phones=9, n_resamples=0, seed=0)


def test_tables_of_a_resample_are_those_of_the_utterances_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = utterances()
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=7)
    tables = np.array([count_phones(one.frame_units, one.phones, 6, 4) for one in judged])
    expected = np.einsum("ru,upk->rpk", weights, tables)
    for cells in (1 << 24, 24 * 3, 1):
        monkeypatch.setattr("units.phone_report.RESAMPLED_CELLS", cells)
        blocks = list(_resampled_tables(judged, 6, 4, weights))
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert len(blocks) == 7 and list(_resampled_tables(judged, 6, 4, weights[:0])) == []


def test_intervals_are_those_of_whole_utterances_drawn_again() -> None:
    judged, n_drawn = utterances(), 40
    weights = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=n_drawn)
    found = summarize_phones(judged, n_units=6, n_phones=4, n_resamples=n_drawn, seed=5)
    read_as = phone_of_units(sum(count_phones(one.frame_units, one.phones, 6, 4) for one in judged))
    errors = np.array([phone_errors(read_as[one.frame_units], one.phones) for one in judged])
    rates = np.array([(row @ errors)[0] / (row @ errors)[1] for row in weights])
    expected = with_interval(errors[:, 0].sum() / errors[:, 1].sum(), rates)
    assert found.phone_error_rate == pytest.approx(expected)
    assert found.phone_purity.low < found.phone_purity.value < found.phone_purity.high


def test_rows_of_the_table_are_percent() -> None:
    values = iter(Interval(place / 1000, (place - 1) / 1000, (place + 1) / 1000) for place in range(1, 100))

    def boundaries() -> BoundaryScores:
        return BoundaryScores(*(next(values) for _ in range(5)))

    controls = PhoneControls(next(values), next(values), next(values), boundaries())  # .001 to .008
    scores = [next(values) for _ in range(4)]  # .009 to .012
    summary = PhoneSummary(3, 1.0, 5, 9.0, *scores, boundaries(), boundaries(), controls)  # .013 to .022
    rows = phone_rows(summary)
    assert {title: round(interval.value, 6) for title, interval in rows.items()} == {
        "phones: PNMI, %": 0.9,
        "  with runs shuffled": 0.1,
        "phone purity, %": 1.0,
        "cluster purity, %": 1.1,
        "phone error rate, %": 1.2,
        "  with runs shuffled (error)": 0.3,
        "boundaries of units: precision, %": 1.3,
        "  recall, %": 1.4,
        "  F1, %": 1.5,
        "  R-value, %": 1.6,
        "boundaries of phones read: F1, %": 2.0,
        "  R-value, % (phones read)": 2.1,
        "random cuts, as many: F1, %": 0.6,
        "  R-value, % (random cuts)": 0.7,
    }
    assert rows["phone purity, %"] == pytest.approx((1.0, 0.9, 1.1))
    bare = summary._replace(pnmi=Interval(0.5, None, None))
    assert phone_rows(bare)["phones: PNMI, %"] == Interval(50.0, None, None)
