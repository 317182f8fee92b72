"""An experiment read whole: its neighbours, what it lacks, and the examples chosen from it."""

from pathlib import Path

import pytest

from report_examples import write_vocoder_experiment

from core.errors import UserError
from report.data import choose_examples, load_experiment, related_experiments


@pytest.mark.parametrize(
    ("exp_name", "units", "bpe"),
    [
        ("spanish_vocoder_v4", "spanish_units", "spanish_bpe"),
        ("spanish_vocoder_v4_w4", "spanish_units_w4", "spanish_bpe_w4"),
        ("spanish_bpe_a_b", "spanish_units_a_b", "spanish_bpe_a_b"),
        ("spanish_units_w4", "spanish_units_w4", "spanish_bpe_w4"),
    ],
)
def test_related_experiments_are_found_by_name(tmp_path: Path, exp_name: str, units: str, bpe: str) -> None:
    for name in (exp_name, units, bpe):
        (tmp_path / name).mkdir(exist_ok=True)
    assert related_experiments(tmp_path / exp_name, {}) == (tmp_path / units, tmp_path / bpe)


def test_without_a_recogniser_the_examples_are_ranked_by_mel_distance(tmp_path: Path) -> None:
    exp = write_vocoder_experiment(tmp_path / "spanish_vocoder_v4", n_utterances=3, asr=False)
    utterances = load_experiment(exp).scores.utterances
    metric, chosen = choose_examples(utterances, 3)
    values = [item["mel_distance_nat"] for _, item in chosen]
    assert metric == "mel_distance_nat" and values == sorted(values)
    assert [label for label, _ in chosen] == ["best", "median", "worst"]


def test_no_experiment_is_refused_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        load_experiment(tmp_path)


def test_what_an_experiment_does_not_have_is_none_or_empty(tmp_path: Path) -> None:
    exp = tmp_path / "hindi_vocoder_v4"
    exp.mkdir()
    (exp / "config.json").write_text("{}")
    found = load_experiment(exp)
    assert (found.name, found.language, found.n_streams) == ("hindi_vocoder_v4", "hindi", 1)
    assert (found.scores, found.unit_report, found.motifs, found.units_path, found.generator) == (None,) * 5
    assert (found.log, found.environment, found.encoder, found.finished) == ([], {}, "", False)


def test_without_any_score_the_examples_go_by_id() -> None:
    rows = [{"id": "b"}, {"id": "a"}, {"id": "c", "cer": None}]
    assert choose_examples(rows, 2) == (None, [("a", {"id": "a"}), ("b", {"id": "b"})])
