"""SNR after the best gain and lag: against known noise and against a plain search."""

import numpy as np

import pytest

from evaluation.snr import CEILING_DB, compute_snr


def colored(n_samples: int, seed: int) -> np.ndarray:
    return np.convolve(np.random.default_rng(seed).standard_normal(n_samples), [1, 0.9, 0.5], "same")


def test_known_noise():
    signal, noise = colored(40000, 0), np.random.default_rng(1).standard_normal(40000)
    noise -= signal * (noise @ signal) / (signal @ signal)
    noise *= np.sqrt((signal @ signal) / (noise @ noise) / 100)
    # the best gain is below 1, as in Wiener's filter: 10 log10(1 + 100) dB
    assert compute_snr(signal, signal + noise) == pytest.approx(10 * np.log10(101), abs=1e-6)


@pytest.mark.parametrize("lag", [-37, 0, 12])
@pytest.mark.parametrize("gain", [-0.5, 3.0])
def test_gain_polarity_and_lag_are_undone(lag, gain):
    signal = colored(5000, 0)
    assert compute_snr(signal[100:4900], gain * signal[100 - lag : 4900 - lag]) == CEILING_DB


def test_equals_a_plain_search_over_lags():
    signal = colored(900, 0)
    other = np.roll(signal, 9) + 0.4 * colored(900, 1)
    best = 0.0
    for lag in range(-20, 21):
        x, y = signal[max(0, -lag) : 900 - max(0, lag)], other[max(0, lag) : 900 + min(0, lag)]
        gain = (x @ y) / (y @ y)
        best = max(best, 10 * np.log10((x @ x) / np.sum((x - gain * y) ** 2)))
    assert compute_snr(signal, other, max_lag=20) == pytest.approx(best, abs=1e-9)


def test_unrelated_silent_and_empty_signals():
    signal = colored(20000, 0)
    assert 0 <= compute_snr(signal, colored(20000, 5)) < 0.1
    assert compute_snr(signal, np.zeros(20000)) == 0
    assert np.isnan(compute_snr(np.zeros(20000), signal)) and np.isnan(compute_snr(np.zeros(0), signal))


def test_a_short_overlap_is_no_match():
    assert compute_snr(colored(40, 0), colored(40, 5)) < 6
