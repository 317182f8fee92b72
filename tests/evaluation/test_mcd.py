"""Mel-cepstral distortion: against stored values of SPTK, against pysptk where it is, and by hand."""

import itertools
import sys
import types

import numpy as np

import pytest

from evaluation.mcd import (
    DB_PER_NEPER,
    compute_mcd,
    compute_mcd_dtw,
    compute_mel_cepstrum,
    mcd_dtw_of_cepstra,
    mcd_of_cepstra,
    warping_path,
)


def buzz(n_samples: int, *, period: int = 137) -> np.ndarray:
    """Whole-numbered pulses, resonance and hash noise: the same samples on every machine."""
    time = np.arange(n_samples)
    noise = ((time * 7919 + (time * time) % 4093) % 2001 - 1000) / 40
    pulses = np.where(time % period == 0, 9000, 0) + np.where(time % period == 3, -5000, 0)
    return np.round(pulses + noise) / 32768


# pysptk 1.0.1: mcep(x * 32768 * hamming(1024), order=23, alpha=0.42, eps=1e-6, etype=1), frames 0 and 5 of buzz(4000).
SPTK_FRAMES = np.array(
    """
    6.60272071 -0.25070979 -0.42146374 -0.05392833 0.07722119 -0.18480954 0.16407905 -0.14622050
    0.09440230 -0.05250479 0.00784590 0.01713078 -0.03596800 0.03771347 -0.03567340 0.02530511
    -0.01197697 0.00235737 0.00626229 -0.01174873 0.01114287 -0.01078022 0.00707118 -0.00457116
    6.60152785 -0.25299604 -0.42279848 -0.05755041 0.07578091 -0.18545850 0.16449248 -0.14534101
    0.09745691 -0.05090037 0.00647523 0.02132714 -0.03533583 0.04030904 -0.03466737 0.02593875
    -0.01219592 0.00058941 0.00930479 -0.00972308 0.01401154 -0.00880605 0.00936108 -0.00254310
    """.split(),
    float,
).reshape(2, 24)
# The ESPnet script's arithmetic on pysptk and fastdtw, for buzz(4000) and buzz(4000, period=119).
SPTK_MCD, ESPNET_MCD_DTW = 0.0598953, 0.4373657


def import_pysptk():
    """pysptk asks setuptools for one path; newer setuptools no longer has that module, so it gets one here."""
    if "pkg_resources" not in sys.modules:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.resource_filename = lambda package, name: name
        sys.modules["pkg_resources"] = stand_in
    return pytest.importorskip("pysptk", exc_type=ImportError)


def test_mel_cepstra_equal_stored_values_of_sptk():
    found = compute_mel_cepstrum(buzz(4000))
    assert found.shape == ((4000 - 1024) // 256 + 1, 24)
    np.testing.assert_allclose(found[[0, 5]], SPTK_FRAMES, atol=2e-8)


def test_scores_equal_stored_values_of_sptk_and_espnet():
    one, other = buzz(4000), buzz(4000, period=119)
    assert compute_mcd(one, other) == pytest.approx(SPTK_MCD, abs=1e-6)
    assert compute_mcd_dtw(one, other) == pytest.approx(ESPNET_MCD_DTW, abs=1e-6)


def test_mel_cepstra_equal_pysptk():
    pysptk = import_pysptk()
    rng = np.random.default_rng(0)
    signal = np.round(3000 * np.convolve(rng.standard_normal(6000), [1, 1.4, 0.8], "same"))
    signal[2000:3500] = 0  # digital silence
    window = pysptk.hamming(1024)
    expected = [
        pysptk.mcep(signal[start : start + 1024] * window, 23, 0.42, eps=1e-6, etype=1)
        for start in range(0, len(signal) - 1023, 256)
    ]
    np.testing.assert_allclose(compute_mel_cepstrum(signal / 32768), expected, atol=1e-9)


def test_long_recordings_are_analysed_in_blocks(monkeypatch):
    whole = compute_mel_cepstrum(buzz(6000))
    monkeypatch.setattr("evaluation.mcd._FRAMES_AT_ONCE", 3)
    np.testing.assert_allclose(compute_mel_cepstrum(buzz(6000)), whole, atol=1e-12)


def test_short_and_silent_recordings_give_one_finite_frame():
    for waveform in (np.zeros(0), np.zeros(400), buzz(400)):
        cepstra = compute_mel_cepstrum(waveform)
        assert cepstra.shape == (1, 24) and np.isfinite(cepstra).all()


def test_mcd_by_hand_leaves_the_energy_out_and_mcd_dtw_does_not():
    zeros, shifted, louder = np.zeros((4, 24)), np.zeros((4, 24)), np.zeros((4, 24))
    shifted[:, 3], shifted[:, 7], louder[:, 0] = 0.3, 0.4, 1.0
    assert mcd_of_cepstra(zeros, shifted) == pytest.approx(10 / np.log(10) * np.sqrt(2 * 0.25))
    assert mcd_of_cepstra(zeros, louder) == 0
    assert mcd_dtw_of_cepstra(zeros, louder) == pytest.approx(DB_PER_NEPER * np.sqrt(2))


def test_gain_moves_the_energy_term_alone():
    signal = buzz(5000)
    assert compute_mcd(signal, 0.5 * signal) == pytest.approx(0, abs=1e-3)
    assert compute_mcd_dtw(signal, 0.5 * signal) == pytest.approx(DB_PER_NEPER * np.sqrt(2) * np.log(2), abs=0.01)


def test_mcd_compares_the_common_part():
    signal = buzz(6000)
    assert compute_mcd(signal, signal[:4000]) == 0


def test_warping_path_is_the_best_of_all_paths():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (1, 4), (4, 1), (3, 5), (5, 4)):
        first, second = rng.standard_normal((n, 2)), rng.standard_normal((m, 2))
        distance = np.linalg.norm(first[:, None] - second, axis=2)
        rows, columns = warping_path(first, second)
        steps = set(zip(np.diff(rows), np.diff(columns)))
        assert steps <= {(1, 1), (1, 0), (0, 1)}
        assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, n - 1, m - 1)
        assert distance[rows, columns].sum() == pytest.approx(least_of_all_paths(distance))


def least_of_all_paths(distance: np.ndarray) -> float:
    n, m = distance.shape
    best = np.inf
    for length in range(max(n, m) - 1, n + m - 1):
        for steps in itertools.product(((1, 1), (1, 0), (0, 1)), repeat=length):
            path = np.cumsum([(0, 0), *steps], axis=0)
            if tuple(path[-1]) == (n - 1, m - 1):
                best = min(best, distance[path[:, 0], path[:, 1]].sum())
    return best


def test_warping_undoes_a_change_of_tempo():
    cepstra = compute_mel_cepstrum(buzz(8000)) + np.linspace(0, 3, 28)[:, None]
    slower = np.repeat(cepstra, 2, axis=0)
    assert mcd_dtw_of_cepstra(cepstra, slower) == pytest.approx(0, abs=1e-9)
    assert mcd_of_cepstra(cepstra, slower) > 1
