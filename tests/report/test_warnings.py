"""What a careful reader is told before the numbers."""

from pathlib import Path

from report_examples import write_vocoder_experiment

from report.data import Experiment, Scores, choose_examples, load_experiment
from report.summary import describe_in_words, headline_tiles
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


def test_a_recogniser_that_does_not_know_the_language_is_the_headline_also_of_older_scores(tmp_path: Path) -> None:
    rows = [{"id": name, "asr_original": "[Singing]", "cer": 0.0, "mcd_db": number} for number, name in enumerate("ab")]
    metrics = {"cer": {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 2, "unit": ""}}
    known = Scores(metrics, [row | {"asr_original": "hola"} for row in rows], 2, 1.0, "best", 1, {"model": "w"}, [])
    right = load(tmp_path / "a", scores=known)
    wrong = right._replace(scores=known._replace(utterances=rows))
    assert "100 of 100 letters" in " ".join(describe_in_words(right)) and "CER" in str(headline_tiles(right))
    said = " ".join(describe_in_words(wrong))
    assert "PROBLEM: in 2 of 2 originals" in said and "of 100 letters" not in said
    assert "CER" not in str(headline_tiles(wrong))
    assert any(line.startswith("PROBLEM") for line in collect_warnings(wrong))
    assert choose_examples(rows, 2)[0] == "mcd_db" and choose_examples(known.utterances, 2)[0] == "cer"
