"""Scores of systems: which utterances count, and how a number is written."""

import pytest

from evaluation.metrics import RATES
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
