"""Training curves: which keys of the log stand in which picture."""

from pathlib import Path

from report_examples import write_vocoder_experiment

from report.curves import curve_figures, metric_keys, read_curve
from report.data import load_experiment

ROWS = [{"step": 1, "train_mel_nat": 2.0, "seconds": 60}, {"step": 2, "validation_mel_nat": 1.0}, {"step": None}]


def test_keys_are_numeric_and_validation_comes_first() -> None:
    assert metric_keys([*ROWS, {"note": "text", "a": 1}]) == ["validation_mel_nat", "a", "train_mel_nat"]


def test_a_curve_has_the_rows_with_both_numbers() -> None:
    assert read_curve(ROWS, "train_mel_nat", "step") == ([1], [2.0])
    assert read_curve(ROWS, "validation_mel_nat", "seconds") == ([], [])


def test_training_and_validation_share_a_picture_and_the_rest_is_folded(tmp_path: Path) -> None:
    experiment = load_experiment(write_vocoder_experiment(tmp_path / "a", n_utterances=1, n_rows=12))
    shown, folded = curve_figures([experiment])
    assert [figure.caption for (by_step, by_time) in shown for figure in (by_step, by_time)] == [
        "mel_nat by step",
        "mel_nat by minutes of training",
    ]
    assert (
        "train_mel_nat" in shown[0][0].picture.description and "validation_mel_nat" in shown[0][0].picture.description
    )
    assert {figures[0].caption for figures in folded} == {"learning_rate by step", "audio_seconds_per_second by step"}
    other = experiment._replace(log=[{"step": 1, "seconds": 1, "loss": 2.0}])
    assert curve_figures([other])[1] == [] and len(curve_figures([other])[0]) == 1
