"""F0 and voicing errors, by hand."""

import numpy as np

import pytest

from evaluation.pitch_scores import compute_pitch_scores


def test_scores_by_hand():
    original = np.array([0, 0, 100, 100, 200, 200, 100, 0, 150, 100.0])
    heard = np.array([0, 90, 100, 110, 300, 400, 0, 0, 150, 120.0])
    found = compute_pitch_scores(original, heard)
    # voiced in both: frames 2-5, 8, 9 with differences 0, 10, 100, 200, 0, 20 Hz; exactly 20 % is not gross
    assert found["f0_rmse_hz"] == pytest.approx(np.sqrt((100 + 10000 + 40000 + 400) / 6))
    cents = 1200 * np.log2([1, 1.1, 1.5, 2, 1, 1.2])
    assert found["f0_rmse_cents"] == pytest.approx(np.sqrt(np.mean(cents**2)))
    assert found["gross_pitch_error_percent"] == pytest.approx(200 / 6)
    assert found["vuv_error_percent"] == pytest.approx(20)
    assert found["ffe_percent"] == pytest.approx(40)


def test_a_semitone_is_a_hundred_cents():
    original = np.linspace(80, 300, 50)
    found = compute_pitch_scores(original, original * 2 ** (1 / 12))
    assert found["f0_rmse_cents"] == pytest.approx(100)
    assert found["gross_pitch_error_percent"] == found["ffe_percent"] == 0


def test_equal_tracks_and_unequal_lengths():
    track = np.array([0, 120, 130, 0.0])
    assert set(compute_pitch_scores(track, np.append(track, 99.0)).values()) == {0.0}


def test_scores_over_no_frame_are_undefined():
    found = compute_pitch_scores(np.zeros(5), np.full(5, 100.0))
    assert np.isnan([found["f0_rmse_hz"], found["f0_rmse_cents"], found["gross_pitch_error_percent"]]).all()
    assert found["vuv_error_percent"] == found["ffe_percent"] == 100
    assert np.isnan(list(compute_pitch_scores(np.zeros(0), np.zeros(0)).values())).all()
