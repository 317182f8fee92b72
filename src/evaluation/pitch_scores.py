"""How well F0 and voicing are kept: two F0 tracks of the same recording, compared frame by frame."""

import numpy as np

GROSS_ERROR = 0.20  # of the original's F0


def compute_pitch_scores(original: np.ndarray, resynthesis: np.ndarray) -> dict[str, float]:
    """Scores of two F0 tracks, (F,) and (G,) in Hz with 0 = unvoiced, at the same frame rate.

    - ``f0_rmse_hz``, ``f0_rmse_cents``: root mean square difference over the frames voiced in both
    - ``gross_pitch_error_percent``: of the frames voiced in both, those more than 20 % off
    - ``vuv_error_percent``: of all frames, those voiced in one track only
    - ``ffe_percent``: of all frames, those with a voicing error or a gross pitch error (W. Chu and A. Alwan (2009),
      "Reducing F0 frame error of F0 tracking algorithms under noisy conditions")

    Of tracks of unequal length the common part is compared. A score over no frame is NaN.
    """
    n_frames = min(len(original), len(resynthesis))
    original, resynthesis = np.asarray(original[:n_frames], float), np.asarray(resynthesis[:n_frames], float)
    voiced, heard_voiced = original > 0, resynthesis > 0
    both = voiced & heard_voiced
    reference, estimate = original[both], resynthesis[both]
    gross = np.abs(estimate - reference) > GROSS_ERROR * reference
    voicing_error = voiced != heard_voiced
    return {
        "f0_rmse_hz": _root_mean_square(estimate - reference),
        "f0_rmse_cents": _root_mean_square(1200 * np.log2(estimate / reference)),
        "gross_pitch_error_percent": _percent(gross.sum(), both.sum()),
        "vuv_error_percent": _percent(voicing_error.sum(), n_frames),
        "ffe_percent": _percent(voicing_error.sum() + gross.sum(), n_frames),
    }


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _percent(part: int, whole: int) -> float:
    return float(100 * part / whole) if whole else float("nan")
