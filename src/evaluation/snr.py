"""Signal-to-noise ratio after the best gain and lag; a diagnostic, since a vocoder need not keep phase."""

import numpy as np

MAX_LAG = 800  # samples: 50 ms either way
CEILING_DB = 100.0  # two equal signals: float rounding leaves no meaning above


def compute_snr(original: np.ndarray, resynthesis: np.ndarray, *, max_lag: int = MAX_LAG) -> float:
    """SNR in dB of (S,) ``resynthesis`` against (S,) ``original``, float at 16 kHz.

    max over lags |l| <= ``max_lag`` samples (at most a quarter of the signal) and real gains g of
    10 log10(sum x^2 / sum (x - g y_l)^2) = -10 log10(1 - rho_l^2), both sums over the overlap and rho_l the normalised
    cross-correlation there. So it is never below 0 dB (g = 0), and g < 0 undoes a change of polarity. At most 100 dB;
    0 dB for a silent resynthesis, NaN for a silent original. Of unequal lengths the common part is compared.
    """
    n = min(len(original), len(resynthesis))
    x, y = np.asarray(original[:n], np.float64), np.asarray(resynthesis[:n], np.float64)
    if n == 0 or not x.any():
        return float("nan")
    max_lag = min(max_lag, n // 4)  # a short overlap matches by chance
    lags = np.arange(-max_lag, max_lag + 1)
    energy_x, energy_y = _overlap_energy(x, -lags), _overlap_energy(y, lags)
    product = energy_x * energy_y
    defined = product > 1e-12 * np.sum(x**2) * np.sum(y**2)
    if not defined.any():
        return 0.0
    squared = _cross_correlation(x, y, lags)[defined] ** 2 / product[defined]
    return float(min(CEILING_DB, -10 * np.log10(max(1 - squared.max(), 1e-15))))


def _overlap_energy(signal: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Energy of signal[lag:], or of signal[:lag] where the lag is negative, for each lag."""
    cumulated = np.concatenate([[0.0], np.cumsum(signal**2)])
    return np.where(lags >= 0, cumulated[-1] - cumulated[np.maximum(lags, 0)], cumulated[np.minimum(lags, 0) - 1])


def _cross_correlation(x: np.ndarray, y: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """sum_t x[t] y[t + lag] for each lag, by FFT."""
    n_fft = 1 << (2 * len(x) - 1).bit_length()
    product = np.conj(np.fft.rfft(x, n_fft)) * np.fft.rfft(y, n_fft)
    return np.fft.irfft(product, n_fft)[lags]
