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


@pytest.mark.parametrize(("lag", "found"), [(800, True), (-800, True), (801, False), (-801, False)])
def test_50_ms_either_way_are_undone_and_not_a_sample_more(lag, found):
    signal = np.random.default_rng(0).standard_normal(12_000)
    snr = compute_snr(signal[1000:11_000], signal[1000 - lag : 11_000 - lag])
    assert (snr == CEILING_DB) == found and (found or snr < 1)


@pytest.mark.parametrize(("lag", "found"), [(100, True), (101, False)])
def test_a_quarter_of_a_short_recording_is_undone(lag, found):
    signal = np.random.default_rng(1).standard_normal(1000)
    assert (compute_snr(signal[200:600], signal[200 - lag : 600 - lag]) == CEILING_DB) == found


def test_the_ceiling_is_100_db_and_a_little_noise_stays_below_it():
    signal, noise = colored(40_000, 0), np.random.default_rng(1).standard_normal(40_000)
    noise -= signal * (noise @ signal) / (signal @ signal)
    for level_db in (60, 90):
        heard = signal + noise * np.sqrt((signal @ signal) / (noise @ noise) / 10 ** (level_db / 10))
        assert compute_snr(signal, heard) == pytest.approx(level_db, abs=1e-3)
    assert compute_snr(signal, 2 * signal) == 100.0
