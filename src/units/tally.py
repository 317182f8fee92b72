"""Counting units as a corpus streams by.

A *tally* counts one split; memory grows with the number of units, of distinct pairs of neighbours and of bootstrap
resamples, not with the corpus. Axes: K units, F frames, U deduplicated units, R resamples, B utterances held back.
"""

from collections.abc import Iterable

import numpy as np

from core.errors import UserError
from core.frames import SAMPLE_RATE, UNIT_RATE, samples_to_frames
from core.records import SPLITS

HELD_UTTERANCES = 128  # resampled in one matrix product
HELD_CODES = 1 << 21  # merged at once: 32 MB
MAX_RUN = 1 << 20  # unit * MAX_RUN + duration in frames is one code


def new_codes() -> dict:
    """An empty counter of int64 codes, for few distinct values among many."""
    return {"codes": np.zeros(0, np.int64), "counts": np.zeros(0, np.int64), "held": [], "n_held": 0}


def add_codes(counter: dict, codes: np.ndarray, counts: np.ndarray | None = None) -> None:
    """Count (N,) ``codes``, each once or as often as (N,) ``counts`` says."""
    counter["held"].append((codes, np.ones(len(codes), np.int64) if counts is None else counts))
    counter["n_held"] += len(codes)
    if counter["n_held"] >= HELD_CODES:
        merge_codes(counter)


def merge_codes(counter: dict) -> tuple[np.ndarray, np.ndarray]:
    """Fold in what is held back; returns the distinct codes, ascending, and how often each came."""
    if counter["held"]:
        parts = [(counter["codes"], counter["counts"]), *counter["held"]]
        codes, places = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        # bincount adds in float64, exact to 2**53.
        counts = np.bincount(places, weights=np.concatenate([part[1] for part in parts]), minlength=len(codes))
        counter.update(codes=codes, counts=counts.astype(np.int64), held=[], n_held=0)
    return counter["codes"], counter["counts"]


def new_tally(n_units: int, n_streams: int = 1, *, n_resamples: int = 0, seed: int = 0) -> dict:
    """Empty counts of one split; ``n_resamples`` of 0 leaves the bootstrap out."""
    return {
        "n_utterances": 0,
        "frames": np.zeros((n_streams, n_units), np.int64),
        "runs": np.zeros(n_units, np.int64),
        "pairs": new_codes(),
        "run_lengths": new_codes(),
        "random": np.random.default_rng(seed),
        "held": [],
        "resampled_frames": np.zeros((n_resamples, n_units)),
        "resampled_runs": np.zeros((n_resamples, n_units)),
    }


def check_utterance(utterance: dict, n_units: int, n_streams: int = 1) -> None:
    """Refuse, with its id and the remedy, an utterance that is not as phase 1 writes it."""
    units, durations = np.asarray(utterance["units"], np.int64), np.asarray(utterance["durations"], np.int64)
    residual = [np.asarray(stream, np.int64) for stream in utterance.get("residual_units", [])]
    values, n_frames = np.concatenate([units, *residual]), int(durations.sum())
    found = None
    if utterance["split"] not in SPLITS:
        found = f"split '{utterance['split']}', not one of {SPLITS}"
    elif utterance["unit_rate"] != UNIT_RATE:
        found = f"a unit rate of {utterance['unit_rate']} Hz, not {UNIT_RATE}"
    elif len(units) != len(durations) or (len(durations) and durations.min() < 1):
        found = f"{len(units)} units and {len(durations)} durations, or a duration below 1 frame"
    elif (units[1:] == units[:-1]).any():
        found = "the same unit twice in a row, so not deduplicated"
    elif len(values) and not 0 <= values.min() <= values.max() < n_units:
        found = f"units {values.min()} … {values.max()}, not 0 … {n_units - 1}"
    elif len(residual) != n_streams - 1 or any(len(stream) != n_frames for stream in residual):
        found = f"residual streams of {[len(stream) for stream in residual]}, not {n_streams - 1} of {n_frames} frames"
    # The manifest's seconds are rounded to 4 digits: one frame of tolerance.
    elif abs(n_frames - samples_to_frames(round(utterance["duration"] * SAMPLE_RATE))) > 1:
        found = f"{n_frames} frames for {utterance['duration']} s"
    if found:
        raise UserError(f"utterance {utterance['id']}: found {found}; rerun phase 1 with --overwrite")


def count_utterance(tally: dict, utterance: dict) -> None:
    """Add one utterance of the corpus to its split's tally."""
    units, durations = np.asarray(utterance["units"], np.int64), np.asarray(utterance["durations"], np.int64)
    n_units = len(tally["runs"])
    frames = np.bincount(units, weights=durations, minlength=n_units).astype(np.int64)
    runs = np.bincount(units, minlength=n_units)
    tally["n_utterances"] += 1
    tally["frames"][0] += frames
    for stream, ids in enumerate(utterance.get("residual_units", []), 1):
        tally["frames"][stream] += np.bincount(np.asarray(ids, np.int64), minlength=n_units)
    tally["runs"] += runs
    add_codes(tally["pairs"], units[:-1] * n_units + units[1:])
    add_codes(tally["run_lengths"], units * MAX_RUN + durations)
    if len(tally["resampled_runs"]):
        tally["held"].append((frames, runs))
        if len(tally["held"]) >= HELD_UTTERANCES:
            _resample(tally)


def _resample(tally: dict) -> None:
    """Poisson bootstrap: in each resample an utterance counts Poisson(1) times, independently of the others.

    It needs no second look at the corpus. N. Chamandy et al., "Estimating uncertainty for massive data streams"
    (Google, 2012).
    """
    held, tally["held"] = tally["held"], []
    if held:
        times = tally["random"].poisson(1.0, (len(tally["resampled_runs"]), len(held))).astype(np.float64)
        tally["resampled_frames"] += times @ np.stack([frames for frames, _ in held]).astype(np.float64)
        tally["resampled_runs"] += times @ np.stack([runs for _, runs in held]).astype(np.float64)


def finish_tally(tally: dict) -> dict:
    """Fold in all that is held back; call before reading ``pairs``, ``run_lengths`` or the resamples."""
    _resample(tally)
    merge_codes(tally["pairs"])
    merge_codes(tally["run_lengths"])
    return tally


def merge_tallies(tallies: Iterable[dict]) -> dict:
    """The tally of several splits together."""
    tallies = [finish_tally(tally) for tally in tallies]
    n_streams, n_units = tallies[0]["frames"].shape
    merged = new_tally(n_units, n_streams, n_resamples=len(tallies[0]["resampled_runs"]))
    for tally in tallies:
        for key in ("n_utterances", "frames", "runs", "resampled_frames", "resampled_runs"):
            merged[key] = merged[key] + tally[key]
        for key in ("pairs", "run_lengths"):
            add_codes(merged[key], tally[key]["codes"], tally[key]["counts"])
    return finish_tally(merged)
