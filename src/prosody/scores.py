"""How well durations, voicing and F0 are predicted from units, beside two controls that look at no neighbour.

Axes: U units, F frames (50 Hz) of one utterance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.records import MetricScore
from evaluation.bootstrap import bootstrap_mean, paired_difference

Row = dict[str, float | None]  # of one utterance: a score by its name
# metric: (unit, decimals shown)
PROSODY_METRICS = {
    "duration_mae_frames": ("frame", 3),
    "duration_mae_percent": ("%", 1),
    "duration_correlation": ("", 3),
    "length_bias_percent": ("%", 2),
    "length_error_percent": ("%", 2),
    "vuv_error_percent": ("%", 2),
    "f0_rmse_hz": ("Hz", 2),
    "f0_rmse_cents": ("cent", 1),
}


class UtteranceProsody(NamedTuple):
    """How long the units of an utterance last, where its voice is on, and how high it is."""

    durations: np.ndarray  # (U,) whole frames
    voiced: np.ndarray  # (F,) bool
    f0: np.ndarray  # (F,) Hz; of a prediction on every frame, of speech 0 where unvoiced


class ContextFree(NamedTuple):
    """What a predictor that looks at no neighbour says of each unit; all (n_units,)."""

    durations: np.ndarray  # mean, frames
    voiced: np.ndarray  # bool
    log_f0: np.ndarray  # mean, normalised by the speaker


def score_prosody(truth: UtteranceProsody, prediction: UtteranceProsody) -> dict[str, float | None]:
    """Scores of one utterance; voicing and F0 are predicted for the true durations, so that frames can be compared.

    - ``duration_mae_frames``, ``duration_mae_percent``: mean absolute error of a unit's duration, also relative to the
      mean duration; ``duration_correlation``: Pearson's, over the units of the utterance
    - ``length_bias_percent``, ``length_error_percent``: of the whole utterance's length, with its sign and without
    - ``vuv_error_percent``: of all frames, those whose voicing is wrong
    - ``f0_rmse_hz``, ``f0_rmse_cents``: root mean square error over the truly voiced frames

    None where a score is undefined.
    """
    durations, guessed = (np.asarray(side.durations, np.float64) for side in (truth, prediction))
    voiced, length = truth.voiced, durations.sum()
    error = np.abs(guessed - durations)
    reference, estimate = (side.f0[voiced].astype(np.float64) for side in (truth, prediction))
    cents = 1200 * np.log2(estimate / reference)
    scores = {
        "duration_mae_frames": error.mean(),
        "duration_mae_percent": 100 * error.sum() / length,
        "duration_correlation": _correlation(durations, guessed),
        "length_bias_percent": 100 * (guessed.sum() / length - 1),
        "length_error_percent": 100 * abs(guessed.sum() / length - 1),
        "vuv_error_percent": 100 * np.mean(voiced != prediction.voiced),
        "f0_rmse_hz": np.sqrt(np.mean((estimate - reference) ** 2)) if voiced.any() else math.nan,
        "f0_rmse_cents": np.sqrt(np.mean(cents**2)) if voiced.any() else math.nan,
    }
    return {name: float(value) if math.isfinite(value) else None for name, value in scores.items()}


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def fit_controls(
    units: Sequence[np.ndarray], spoken: Sequence[UtteranceProsody], log_f0: Sequence[np.ndarray], n_units: int
) -> dict[str, ContextFree]:
    """What predictors without context would say: one answer for everything, and one for each unit.

    units: (U,) of each utterance of the train split; spoken: its prosody; log_f0: (F,) its F0, normalised by the
    speaker. Returns "corpus_mean" and "unit_mean"; a unit that never occurs, or is never voiced, has the corpus'
    answer.
    """
    durations = np.concatenate([utterance.durations for utterance in spoken])
    by_place = np.concatenate(units)
    by_frame = np.repeat(by_place, durations)
    voiced = np.concatenate([utterance.voiced for utterance in spoken])
    pitch = np.concatenate(log_f0)[voiced]
    corpus = ContextFree(
        durations=np.full(n_units, durations.mean()),
        voiced=np.full(n_units, voiced.mean() > 0.5),
        log_f0=np.full(n_units, pitch.mean() if len(pitch) else 0.0),
    )
    by_unit = ContextFree(
        durations=_group_means(by_place, durations, corpus.durations),
        voiced=_group_means(by_frame, voiced, voiced.mean() * np.ones(n_units)) > 0.5,
        log_f0=_group_means(by_frame[voiced], pitch, corpus.log_f0),
    )
    return {"corpus_mean": corpus, "unit_mean": by_unit}


def _group_means(groups: np.ndarray, values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    counts = np.bincount(groups, minlength=len(otherwise))
    sums = np.bincount(groups, weights=values.astype(np.float64), minlength=len(otherwise))
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)


def summarise_prosody(rows: Sequence[Row]) -> dict[str, MetricScore]:
    """{metric: {"mean", "low", "high", "n", "unit"}}: means over utterances with bootstrap 95 % intervals."""
    defined = {name: [row[name] for row in rows if row[name] is not None] for name in PROSODY_METRICS}
    return {
        name: bootstrap_mean(values)._asdict() | {"unit": PROSODY_METRICS[name][0]}
        for name, values in defined.items()
        if values
    }


def compare_prosody(first: Sequence[Row], second: Sequence[Row]) -> dict[str, MetricScore]:
    """{metric: {"mean", "low", "high", "n", "unit"}} of ``first`` minus ``second``, rows of the same utterances."""
    differences = {}
    for name, (unit, _) in PROSODY_METRICS.items():
        pairs = [(a[name], b[name]) for a, b in zip(first, second) if None not in (a[name], b[name])]
        if pairs:
            differences[name] = paired_difference(*zip(*pairs))._asdict() | {"unit": unit}
    return differences


def format_prosody(metrics: dict[str, MetricScore], controls: dict[str, dict[str, MetricScore]]) -> str:
    """A line a metric: the prediction with its interval, then each control with its own."""
    lines = ["".join([" " * 24, *(name.rjust(32) for name in ("prediction", *controls))])]
    for name, (unit, decimals) in PROSODY_METRICS.items():
        intervals = (_format_interval(side.get(name), decimals) for side in (metrics, *controls.values()))
        lines.append(name.ljust(24) + "".join(f"{interval} {unit}".rjust(32) for interval in intervals))
    return "\n".join(lines)


def _format_interval(interval: MetricScore | None, decimals: int) -> str:
    if interval is None:
        return "-"
    mean, low, high = (f"{interval[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
