"""Mel-cepstral distortion (MCD), from our own mel-cepstral analysis in numpy; no SPTK needed.

Estimator: SPTK's ``mcep`` with the settings of ESPnet's and ParallelWaveGAN's ``evaluate_mcd.py`` at 16 kHz: frames of
1024 samples every 256, not padded; SPTK's Hamming window (unit power); samples on the scale of 16-bit integers; 1e-6
added to the periodogram; order 23; all-pass constant 0.42; Newton steps until the gain term moves by less than 0.1 %.

T. Fukada, K. Tokuda, T. Kobayashi, S. Imai (1992), "An adaptive algorithm for mel-cepstral analysis of speech":
the mel-cepstrum c minimises mean over frequency of P / |H|^2 + log |H|^2 where P is the periodogram and
log |H(w)| = sum_m c_m cos(m w~), w~ the phase of the all-pass filter.

Axes: S samples, F analysis frames, N FFT bins (513), Q cepstral coefficients (24).
"""

import functools

import numpy as np

ORDER = 23
ALPHA = 0.42  # warps 16 kHz close to the mel scale
N_FFT = 1024  # samples
HOP = 256  # samples
SAMPLE_SCALE = 32768.0  # float in [-1, 1] to 16-bit integers
PERIODOGRAM_FLOOR = 1e-6
MIN_STEPS, MAX_STEPS = 2, 30
TOLERANCE = 1e-3
DB_PER_NEPER = 10.0 / np.log(10.0)
_FRAMES_AT_ONCE = 2048  # bounds the memory for recordings of any length


def compute_mel_cepstrum(waveform: np.ndarray) -> np.ndarray:
    """Mel-cepstra of (S,) float in [-1, 1] at 16 kHz: (F, 24) float64, F = (S - 1024) // 256 + 1.

    Fewer than 1024 samples are filled up with zeros to one frame.
    """
    samples = np.asarray(waveform, np.float64) * SAMPLE_SCALE
    samples = np.pad(samples, (0, max(0, N_FFT - len(samples))))
    windowed = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]
    blocks = [windowed[start : start + _FRAMES_AT_ONCE] for start in range(0, len(windowed), _FRAMES_AT_ONCE)]
    return np.concatenate([_analyse(block * _hamming()) for block in blocks])


@functools.cache
def _hamming() -> np.ndarray:
    window = np.hamming(N_FFT)
    return window / np.sqrt(np.sum(window**2))


@functools.cache
def _warped_cosines() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cos(m w~) (N, 2 * 23 + 1), the weight of each bin in a mean over frequency (N,), and dw~/dw (N,)."""
    omega = np.linspace(0, np.pi, N_FFT // 2 + 1)
    warped = omega + 2 * np.arctan2(ALPHA * np.sin(omega), 1 - ALPHA * np.cos(omega))
    weights = np.full(len(omega), 2 / N_FFT)
    weights[[0, -1]] = 1 / N_FFT
    slope = (1 - ALPHA**2) / (1 - 2 * ALPHA * np.cos(omega) + ALPHA**2)
    return np.cos(np.outer(warped, np.arange(2 * ORDER + 1))), weights, slope


def _analyse(windowed: np.ndarray) -> np.ndarray:
    """(F, 1024) windowed samples -> (F, 24) mel-cepstra, Newton's method on all unfinished frames at once."""
    cosines, weights, slope = _warped_cosines()
    basis, projection = cosines[:, : ORDER + 1], cosines * weights[:, None]
    target = (-ALPHA) ** np.arange(ORDER + 1)  # mean over frequency of cos(m w~)
    index = np.arange(ORDER + 1)
    toeplitz, hankel = np.abs(index[:, None] - index), index[:, None] + index

    power = np.abs(np.fft.rfft(windowed, axis=1)) ** 2 + PERIODOGRAM_FLOOR
    # Start: the warped cepstrum of the raw spectrum.
    cepstrum = np.log(power) @ (projection[:, : ORDER + 1] * slope[:, None])
    cepstrum[:, 0] /= 2
    active, last_gain = np.arange(len(power)), np.full(len(power), np.nan)
    for step in range(1, MAX_STEPS + 1):
        residual = power[active] / np.exp(2 * (cepstrum[active] @ basis.T))
        moments = residual @ projection
        gain = moments[:, 0]
        if step >= MIN_STEPS:
            with np.errstate(invalid="ignore"):
                going = ~(np.abs((gain - last_gain[active]) / gain) < TOLERANCE)
            last_gain[active] = gain
            active, moments = active[going], moments[going]
        if len(active) == 0:
            break
        hessian = moments[:, toeplitz] + moments[:, hankel]
        gradient = moments[:, : ORDER + 1] - target
        cepstrum[active] += np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return cepstrum


def compute_mcd(original: np.ndarray, resynthesis: np.ndarray) -> float:
    """MCD in dB of two waveforms, frame-aligned, without the energy term: the mean over frames of
    (10 / ln 10) sqrt(2 sum_{m=1}^{23} (c_m - c'_m)^2).

    original, resynthesis: (S,) float in [-1, 1] at 16 kHz; of unequal lengths, the common part is compared.
    Source: R. Kubichek (1993), "Mel-cepstral distance measure for objective speech quality assessment".
    """
    return mcd_of_cepstra(compute_mel_cepstrum(original), compute_mel_cepstrum(resynthesis))


def compute_mcd_dtw(original: np.ndarray, resynthesis: np.ndarray) -> float:
    """MCD in dB as ESPnet and ParallelWaveGAN print it: c0 (the energy) included, along a time-warping path.

    The same analysis as ``compute_mcd``. Their ``fastdtw`` approximates the path of least summed distance; ours is
    exact (on recorded prompts the two agree in every digit).
    """
    return mcd_dtw_of_cepstra(compute_mel_cepstrum(original), compute_mel_cepstrum(resynthesis))


def mcd_of_cepstra(original: np.ndarray, resynthesis: np.ndarray) -> float:
    """``compute_mcd`` from (F, 24) mel-cepstra."""
    n_frames = min(len(original), len(resynthesis))
    difference = original[:n_frames, 1:] - resynthesis[:n_frames, 1:]
    return float(np.mean(DB_PER_NEPER * np.sqrt(2 * np.sum(difference**2, axis=1))))


def mcd_dtw_of_cepstra(original: np.ndarray, resynthesis: np.ndarray) -> float:
    """``compute_mcd_dtw`` from (F, 24) mel-cepstra."""
    first, second = warping_path(resynthesis, original)
    squared = np.sum((resynthesis[first] - original[second]) ** 2, axis=1)
    return float(np.mean(DB_PER_NEPER * np.sqrt(2 * squared)))


def warping_path(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic time warping of (F, Q) and (G, Q): frame indices (L,), (L,) of the path of least summed distance.

    Euclidean distance; steps (1, 1), (1, 0) and (0, 1) of equal weight, from the first frames to the last ones. Exact:
    one anti-diagonal at a time, holding one byte for each of the F x G cells.
    """
    n, m = len(first), len(second)
    steps: list[np.ndarray] = []
    # Summed distances by row, of the anti-diagonals before: shifted by one, so that row -1 exists and is infinite.
    before_last, last = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    for diagonal in range(n + m - 1):
        low, high = max(0, diagonal - m + 1), min(n, diagonal + 1)
        rows = np.arange(low, high)
        distance = np.sqrt(np.sum((first[rows] - second[diagonal - rows]) ** 2, axis=1))
        candidates = np.stack([before_last[low:high], last[low:high], last[low + 1 : high + 1]])
        step = np.argmin(candidates, axis=0)
        best = candidates[step, np.arange(len(rows))] if diagonal else np.zeros(1)
        current = np.full(n + 1, np.inf)
        current[low + 1 : high + 1] = best + distance
        steps.append(step.astype(np.int8))
        before_last, last = last, current
    return _trace_back(steps, n, m)


def _trace_back(steps: list[np.ndarray], n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    row, column, path = n - 1, m - 1, []
    while True:
        path.append((row, column))
        if row == 0 and column == 0:
            break
        diagonal = row + column
        step = steps[diagonal][row - max(0, diagonal - m + 1)]
        row, column = row - (step != 2), column - (step != 1)
    rows, columns = np.array(path[::-1]).T
    return rows, columns
