"""The rows of the tables of scores: order, digits, verdicts."""

from pathlib import Path

import pytest

from report_examples import write_vocoder_experiment

from evaluation.metrics import METRICS
from report.data import load_experiment
from report.scores import (
    ROW_ORDER,
    Cell,
    difference_rows,
    make_cell,
    paired_differences,
    score_rows,
    worst_utterances,
)


def test_paired_difference_is_the_mean_of_the_differences(tmp_path: Path) -> None:
    experiments = []
    for name, offset in (("a", 0.0), ("b", 0.25)):
        write_vocoder_experiment(tmp_path / name, n_utterances=6, offset=offset)
        experiments.append(load_experiment(tmp_path / name))
    experiments[1].scores.utterances.reverse()
    found = paired_differences(experiments)["b"]
    assert found["snr_db"]["mean"] == pytest.approx(0.25) and found["cer"]["mean"] == 0
    assert found["mcd_db"]["mean"] == pytest.approx(0.25) and found["mcd_db"]["low"] == pytest.approx(0.25)


def entry(mean: float, low: float, high: float) -> dict:
    return {"mean": mean, "low": low, "high": high, "n": 7, "unit": "dB"}


def test_every_metric_has_its_row() -> None:
    assert sorted(ROW_ORDER) == sorted(METRICS)


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [
        ("mcd_db", 0.1, 0.3, "worse"),
        ("mcd_db", -0.3, -0.1, "better"),
        ("mos", 0.1, 0.3, "better"),
        ("mos", -0.3, -0.1, "worse"),
        ("mos", -0.1, 0.3, "no clear difference"),
        ("mcd_db", 0.0, 0.3, "no clear difference"),
    ],
)
def test_a_difference_is_better_or_worse_as_its_metric_says(name: str, low: float, high: float, verdict: str) -> None:
    (row,) = difference_rows([{name: entry((low + high) / 2, low, high)}])
    assert row.cells[0].verdict == verdict


def test_cells_have_the_digits_of_their_metric() -> None:
    assert make_cell(entry(1.23456, 1, 2), METRICS["mcd_db"]) == Cell("1.23", "[1.00, 2.00]", 7)
    shown = make_cell(entry(12.3, 10, 14), METRICS["f0_rmse_cents"], signed=True)
    assert shown == Cell("+12", "[+10, +14]", 7, "worse")
    assert make_cell(None, METRICS["cer"]) is None and make_cell({"mean": None}, METRICS["cer"]) is None


def test_an_unknown_metric_comes_last_under_its_own_name(tmp_path: Path) -> None:
    experiment = load_experiment(write_vocoder_experiment(tmp_path / "a", n_utterances=2, n_rows=1))
    experiment.scores.metrics["a_new_metric"] = entry(0.5, 0.4, 0.6)
    rows = score_rows([experiment])
    assert [row.metric.label for row in rows][:2] == ["CER", "WER"]
    assert rows[-1].metric.label == "a_new_metric" and rows[-1].cells == [Cell("0.500", "[0.400, 0.600]", 7)]


def test_the_worst_utterances_are_high_errors_and_low_qualities(tmp_path: Path) -> None:
    experiment = load_experiment(write_vocoder_experiment(tmp_path / "a", n_utterances=5))
    for number, row in enumerate(experiment.scores.utterances):
        row |= {"mcd_db": float(number), "snr_db": float(number), "cer": None if number else 0.5}
    found = {row.metric.label: row.utterances for row in worst_utterances(experiment, 2)}
    names = [row["id"] for row in experiment.scores.utterances]
    assert found["MCD"] == [(names[4], "4.00"), (names[3], "3.00")]
    assert found["SNR"] == [(names[0], "0.00"), (names[1], "1.00")]
    assert found["CER"] == [(names[0], "0.500")]
