"""Scores of systems: which utterances count, and how a number is written."""

import pytest

from evaluation.metrics import METRICS, RATES
from evaluation.scores import compare, excludes_zero, format_score, format_table, score_readings, summarise


def rows(**values: list) -> list[dict]:
    n = len(next(iter(values.values())))
    return [{"id": f"u{place}"} | {name: column[place] for name, column in values.items()} for place in range(n)]


def test_error_rates_come_with_their_counts_and_others_without() -> None:
    assert set(RATES) == {"cer", "wer", "cer_text", "wer_text", "cer_text_original", "wer_text_original"}
    found = score_readings("uno dos", "uno DOS tres", "¡Uno!")
    assert found["wer"] == 0.5 and found["wer_text"] == 2 and found["wer_text_original"] == 1
    assert found["wer_counts"] == {"substitutions": 0, "deletions": 0, "insertions": 1, "reference": 2}
    assert score_readings("…", "uno") == {"cer": None, "wer": None}


def test_a_mean_is_of_the_utterances_that_have_the_metric() -> None:
    found = summarise(rows(mcd_db=[4.0, None, 6.0], snr_db=[None, None, None]))
    assert set(found) == {"mcd_db"} and found["mcd_db"]["mean"] == 5 and found["mcd_db"]["n"] == 2


def test_a_rate_is_of_all_words_and_not_the_mean_of_rates() -> None:
    read = [score_readings("a", "b"), score_readings("a b c d e f g h i", "a b c d e f g h i")]
    assert summarise(read)["wer"]["mean"] == pytest.approx(0.1)


def test_differences_are_paired_by_id_whatever_the_order() -> None:
    first, second = rows(mcd_db=[4.0, 5.0, None]), rows(mcd_db=[3.0, 4.5, 1.0])[::-1]
    assert compare(first, second)["mcd_db"] == pytest.approx(
        {"mean": 0.75, "low": 0.5, "high": 1.0, "n": 2, "unit": "dB"}
    )
    assert compare(first, [row | {"id": "other"} for row in second]) == {}


def test_numbers_have_the_digits_of_their_metric_and_clear_differences_a_star() -> None:
    entry = {"mean": 0.5, "low": 0.25, "high": 1.0, "n": 3, "unit": "dB"}
    assert format_score("mcd_db", entry) == ("0.50", "[0.25, 1.00]")
    assert format_score("mcd_db", entry, signed=True) == ("+0.50", "[+0.25, +1.00]")
    assert excludes_zero(entry) and not excludes_zero(entry | {"low": -0.1})
    assert format_table({"mcd_db": entry}, signed=True).endswith("n=3 *")
    assert format_table({"mcd_db": entry}) == f"{'mcd_db':<26}     0.50  {'[0.25, 1.00]':<20}dB    n=3"


SHOWN = {
    "cer": "1.235",
    "wer": "1.235",
    "cer_text": "1.235",
    "wer_text": "1.235",
    "cer_text_original": "1.235",
    "wer_text_original": "1.235",
    "mos": "1.23",
    "mos_original": "1.23",
    "mcd_db": "1.23",
    "mcd_dtw_db": "1.23",
    "mel_distance_nat": "1.235",
    "f0_rmse_hz": "1.2",
    "f0_rmse_cents": "1",
    "gross_pitch_error_percent": "1.2",
    "vuv_error_percent": "1.2",
    "ffe_percent": "1.2",
    "snr_db": "1.23",
}


def test_every_metric_is_shown_with_the_digits_that_mean_something() -> None:
    entry = {"mean": 1.2345678, "low": -1.2345678, "high": 2.0, "n": 3, "unit": ""}
    assert {name: format_score(name, entry)[0] for name in METRICS} == SHOWN
    assert {name for name, metric in METRICS.items() if metric.better == "higher"} == {"mos", "mos_original", "snr_db"}
    assert set(RATES.values()) == {f"{name}_counts" for name in SHOWN if name[:3] in ("cer", "wer")}


def test_an_interval_that_touches_zero_does_not_leave_it_out() -> None:
    entry = {"mean": 0.5, "low": 0.0, "high": 1.0, "n": 3, "unit": "dB"}
    assert not excludes_zero(entry) and not excludes_zero(entry | {"low": -1.0, "high": 0.0})
    assert excludes_zero(entry | {"low": 1e-9}) and excludes_zero(entry | {"low": -1.0, "high": -1e-9})
    lines = format_table({"cer": entry, "mcd_db": entry | {"low": 0.1}}, signed=True).splitlines()
    assert [line.endswith(" *") for line in lines] == [False, True]
    assert format_table({"mcd_db": entry | {"low": 0.1}}).endswith("n=3")


def test_means_and_differences_have_the_unit_of_their_metric() -> None:
    found = summarise(rows(f0_rmse_hz=[4.0, 6.0], mos=[3.0, 4.0]))
    assert {name: (entry["mean"], entry["unit"]) for name, entry in found.items()} == {
        "mos": (3.5, "1-5"),
        "f0_rmse_hz": (5.0, "Hz"),
    }
    assert [*found] == ["mos", "f0_rmse_hz"], "in the order of the metrics"
    read = [{"id": "a"} | score_readings("a b c d", "a b c"), {"id": "b"} | score_readings("a", "b")]
    worse = [{"id": "a"} | score_readings("a b c d", "a"), {"id": "b"} | score_readings("a", "b")]
    assert compare(worse, read)["wer"]["mean"] == pytest.approx(2 / 5)
