"""Log-mel distance: a gain moves every band by its logarithm."""

import numpy as np

import pytest

from evaluation.mel_distance import compute_mel_distance
from synthetic import speech_like


def test_a_gain_is_its_logarithm_in_nats():
    # loud noise stays above the floor of the log-mel in every band
    noise = 0.2 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert compute_mel_distance(noise, 0.5 * noise) == pytest.approx(np.log(2), abs=1e-4)


def test_equal_recordings_common_part_and_order():
    speech, other = speech_like(1.0, seed=0), speech_like(1.0, seed=1)
    assert compute_mel_distance(speech, speech) == 0
    assert compute_mel_distance(speech, other) == pytest.approx(compute_mel_distance(other, speech)) != 0
    assert compute_mel_distance(speech, other[:8000]) == pytest.approx(
        compute_mel_distance(speech[:8000], other[:8000])
    )


def test_less_than_a_frame_is_undefined():
    assert np.isnan(compute_mel_distance(np.zeros(100), np.zeros(100)))
