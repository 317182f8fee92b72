import numpy as np

import pytest

from prosody.scores import (
    UtteranceProsody,
    compare_prosody,
    fit_controls,
    format_prosody,
    score_prosody,
    summarise_prosody,
)

F0 = np.array([0, 100, 200, 0, 100, 100], np.float32)
TRUTH = UtteranceProsody(np.array([1, 2, 3]), F0 > 0, F0)


def test_a_perfect_prediction() -> None:
    scores = score_prosody(TRUTH, TRUTH)
    assert scores.pop("duration_correlation") == pytest.approx(1)
    assert all(value == 0 for value in scores.values())


def test_known_errors() -> None:
    f0 = np.array([90, 200, 400, 90, 200, 200])  # an octave above wherever there is a voice
    voiced = np.array([True, True, True, False, True, False])
    scores = score_prosody(TRUTH, UtteranceProsody(np.array([2, 2, 5]), voiced, f0))
    assert scores["duration_mae_frames"] == pytest.approx(1)
    assert scores["duration_mae_percent"] == scores["length_bias_percent"] == pytest.approx(50)
    assert scores["vuv_error_percent"] == pytest.approx(100 / 3)
    assert scores["f0_rmse_cents"] == pytest.approx(1200)
    assert scores["f0_rmse_hz"] == pytest.approx(np.sqrt((3 * 100**2 + 200**2) / 4))


def test_undefined_scores_are_none() -> None:
    silent = UtteranceProsody(np.array([2, 2]), np.zeros(4, bool), np.zeros(4))
    scores = score_prosody(silent, UtteranceProsody(np.array([2, 1]), np.zeros(4, bool), np.full(4, 100.0)))
    assert scores["f0_rmse_hz"] is None and scores["duration_correlation"] is None
    assert scores["length_bias_percent"] == -25 and scores["length_error_percent"] == 25


def test_controls_answer_by_corpus_and_by_unit() -> None:
    f0 = np.r_[9, np.zeros(4), 9, 9, 9]
    spoken = UtteranceProsody(np.array([1, 4, 3]), f0 > 0, f0)
    log_f0 = np.r_[1.0, np.zeros(4), 1, 1, 3]
    controls = fit_controls([np.array([0, 1, 0])], [spoken], [log_f0], n_units=3)
    corpus, unit = controls["corpus_mean"], controls["unit_mean"]
    assert corpus.durations == pytest.approx([8 / 3] * 3) and corpus.log_f0 == pytest.approx([1.5] * 3)
    assert unit.durations == pytest.approx([2, 4, 8 / 3]) and unit.voiced.tolist() == [True, False, False]
    assert unit.log_f0 == pytest.approx([1.5, 1.5, 1.5])


def test_summaries_differences_and_the_table() -> None:
    good = [score_prosody(TRUTH, TRUTH)] * 3
    poor = [score_prosody(TRUTH, TRUTH._replace(voiced=~TRUTH.voiced))] * 3
    summary = summarise_prosody(poor)
    assert summary["vuv_error_percent"] == {"mean": 100, "low": 100, "high": 100, "n": 3, "unit": "%"}
    assert compare_prosody(good, poor)["vuv_error_percent"]["mean"] == -100
    table = format_prosody(summarise_prosody(good), {"control": summary})
    assert "control" in table and "100.00 [100.00, 100.00] %" in table
