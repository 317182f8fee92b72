"""What a careful reader is told before the numbers."""

from pathlib import Path

from report_examples import write_vocoder_experiment

from report.data import Experiment, Scores, load_experiment
from report.warnings import collect_warnings


def load(folder: Path, **changes: object) -> Experiment:
    return load_experiment(write_vocoder_experiment(folder, n_utterances=2, n_rows=1))._replace(**changes)


def test_warnings_name_overfitting_nan_dead_units_and_a_collapsed_discriminator(tmp_path: Path) -> None:
    rows = [{"step": 1, "validation_mel_nat": 0.5}, {"step": 2, "validation_mel_nat": 0.9, "discriminator_loss": 0.0}]
    rows.append({"step": 3, "train_mel_nat": float("nan")})
    report = {"n_units": 9, "problems": [], "splits": {"train": {"dead_units": [3, 4]}}}
    experiment = load(tmp_path / "a", log=rows, unit_report=report, environment={"git_dirty": False})
    text = " ".join(collect_warnings(experiment))
    for words in ("by heart", "NaN", "Only 2 test", "has won", "2 of 9 units"):
        assert words in text
    assert "committed" not in text and "commit is not known" not in text and "has not finished" not in text


def test_old_scores_a_related_judge_and_what_was_left_out_are_named(tmp_path: Path) -> None:
    scores = Scores({}, [], 99, 1.0, "best", 10, {"model": "whisper-base"}, ["a: no words", {"id": "b", "why": "cut"}])
    log = [{"step": 10, "validation_mel_nat": 0.9}, {"step": 20, "validation_mel_nat": 0.5}]
    experiment = load(tmp_path / "a", scores=scores, log=log, encoder="whisper", finished=False, environment={})
    text = " ".join(collect_warnings(experiment))
    for words in ("step 10, but step 20 is better", "same family", "scores: a: no words.", "id b, why cut"):
        assert words in text
    assert "commit is not known" in text and "has not finished" in text
    assert "better by now" not in " ".join(collect_warnings(experiment._replace(scores=scores._replace(step=20))))


def test_problems_of_the_units_are_not_said_twice(tmp_path: Path) -> None:
    report = {"n_units": 9, "problems": ["2 units are never used"], "splits": {"all": {"dead_units": [3, 4]}}}
    found = [line for line in collect_warnings(load(tmp_path / "a", unit_report=report)) if "never used" in line]
    assert found == ["Units, 2 units are never used."]
