"""Counting units as a corpus streams by.

A *tally* counts one split; memory grows with the number of units, of distinct pairs of neighbours and of bootstrap
resamples, not with the corpus. Axes: N streams, K units, F frames, U deduplicated units, R resamples.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.frames import SAMPLE_RATE, UNIT_RATE, samples_to_frames
from core.records import SPLITS, Utterance

HELD_UTTERANCES = 128  # resampled in one matrix product
HELD_PARTS = 512  # arrays of codes merged at once: 50 MB where every utterance is as long as it may be
MAX_RUN = 1 << 20  # unit * MAX_RUN + duration in frames is one code

CodeCounter = list[tuple[np.ndarray, np.ndarray]]  # codes and how often each came, to be merged


class CodeCounts(NamedTuple):
    """Distinct int64 codes, ascending, and how often each came."""

    codes: np.ndarray
    counts: np.ndarray


class Tally(NamedTuple):
    """Counts of one split while a corpus streams by; every array is added to in place."""

    n_utterances: np.ndarray  # () int64
    frames: np.ndarray  # (N, K) int64, frames of each unit
    runs: np.ndarray  # (K,) int64, deduplicated units of the first stream
    pairs: CodeCounter  # unit * K + the next unit
    run_lengths: CodeCounter  # unit * MAX_RUN + frames
    held: list[tuple[np.ndarray, np.ndarray]]  # (K,) frames and runs of utterances to be resampled
    resampled_frames: np.ndarray  # (R, K) float64
    resampled_runs: np.ndarray  # (R, K) float64
    random: np.random.Generator


class UnitCounts(NamedTuple):
    """A finished tally: what the measures of units.quality are made from."""

    n_utterances: int
    frames: np.ndarray  # (N, K) int64
    runs: np.ndarray  # (K,) int64
    pairs: CodeCounts
    run_lengths: CodeCounts
    resampled_frames: np.ndarray  # (R, K) float64
    resampled_runs: np.ndarray  # (R, K) float64


def add_codes(counter: CodeCounter, codes: np.ndarray, counts: np.ndarray | None = None) -> None:
    """Count (n,) ``codes``, each once or as often as (n,) ``counts`` says."""
    counter.append((codes, np.ones(len(codes), np.int64) if counts is None else counts))
    if len(counter) >= HELD_PARTS:
        counter[:] = [merge_codes(counter)]


def merge_codes(counter: CodeCounter) -> CodeCounts:
    """The distinct codes of all parts, ascending, and how often each came."""
    if not counter:
        return CodeCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    all_codes, all_counts = (np.concatenate(parts) for parts in zip(*counter))
    codes, places = np.unique(all_codes, return_inverse=True)
    # bincount adds in float64, exact to 2**53.
    return CodeCounts(codes, np.bincount(places, weights=all_counts, minlength=len(codes)).astype(np.int64))


def new_tally(n_units: int, n_streams: int = 1, *, n_resamples: int = 0, seed: int = 0) -> Tally:
    """Empty counts of one split; ``n_resamples`` of 0 leaves the bootstrap out."""
    return Tally(
        n_utterances=np.zeros((), np.int64),
        frames=np.zeros((n_streams, n_units), np.int64),
        runs=np.zeros(n_units, np.int64),
        pairs=[],
        run_lengths=[],
        held=[],
        resampled_frames=np.zeros((n_resamples, n_units)),
        resampled_runs=np.zeros((n_resamples, n_units)),
        random=np.random.default_rng(seed),
    )


def unit_arrays(utterance: Utterance) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """(U,) units, (U,) durations in frames, and the (F,) residual streams of an utterance, all int64."""
    residual = [np.asarray(stream, np.int64) for stream in utterance.get("residual_units", [])]
    return np.asarray(utterance["units"], np.int64), np.asarray(utterance["durations"], np.int64), residual


def check_utterance(utterance: Utterance, n_units: int, n_streams: int = 1) -> None:
    """Refuse, with its id and the remedy, an utterance that is not as phase 1 writes it."""
    split, rate, seconds = utterance["split"], utterance["unit_rate"], utterance["duration"]
    if split not in SPLITS:
        found = f"split '{split}', not one of {SPLITS}"
    elif rate != UNIT_RATE:
        found = f"a unit rate of {rate} Hz, not {UNIT_RATE}"
    else:
        found = _unit_problem(*unit_arrays(utterance), seconds=seconds, n_units=n_units, n_streams=n_streams)
    if found:
        raise UserError(f"utterance {utterance['id']}: found {found}; rerun phase 1 with --overwrite")


def _unit_problem(
    units: np.ndarray,
    durations: np.ndarray,
    residual: list[np.ndarray],
    *,
    seconds: float,
    n_units: int,
    n_streams: int,
) -> str | None:
    values, n_frames = np.concatenate([units, *residual]), int(durations.sum())
    if len(units) != len(durations) or (durations < 1).any():
        return f"{len(units)} units and {len(durations)} durations, or a duration below 1 frame"
    if (units[1:] == units[:-1]).any():
        return "the same unit twice in a row, so not deduplicated"
    if len(values) and not 0 <= values.min() <= values.max() < n_units:
        return f"units {values.min()} … {values.max()}, not 0 … {n_units - 1}"
    lengths = [len(stream) for stream in residual]
    if lengths != [n_frames] * (n_streams - 1):
        return f"residual streams of {lengths}, not {n_streams - 1} of {n_frames} frames"
    # The manifest's seconds are rounded to 4 digits: one frame of tolerance.
    if abs(n_frames - samples_to_frames(round(seconds * SAMPLE_RATE))) > 1:
        return f"{n_frames} frames for {seconds} s"
    return None


def count_utterance(tally: Tally, utterance: Utterance) -> None:
    """Add one utterance of the corpus to its split's tally."""
    units, durations, residual = unit_arrays(utterance)
    n_units = len(tally.runs)
    frames = np.bincount(units, weights=durations, minlength=n_units).astype(np.int64)
    runs = np.bincount(units, minlength=n_units)
    tally.n_utterances[...] += 1
    tally.frames[0] += frames
    for stream, ids in enumerate(residual, 1):
        tally.frames[stream] += np.bincount(ids, minlength=n_units)
    tally.runs[...] += runs
    add_codes(tally.pairs, units[:-1] * n_units + units[1:])
    add_codes(tally.run_lengths, units * MAX_RUN + durations)
    if len(tally.resampled_runs):
        tally.held.append((frames, runs))
        if len(tally.held) >= HELD_UTTERANCES:
            _resample(tally)


def _resample(tally: Tally) -> None:
    """Poisson bootstrap: in each resample an utterance counts Poisson(1) times, independently of the others.

    It needs no second look at the corpus. N. Chamandy et al., "Estimating uncertainty for massive data streams"
    (Google, 2012).
    """
    if tally.held:
        times = tally.random.poisson(1.0, (len(tally.resampled_runs), len(tally.held))).astype(np.float64)
        tally.resampled_frames[...] += times @ np.stack([frames for frames, _ in tally.held]).astype(np.float64)
        tally.resampled_runs[...] += times @ np.stack([runs for _, runs in tally.held]).astype(np.float64)
        tally.held.clear()


def finish_tally(tally: Tally) -> UnitCounts:
    """The counts, with all that is held back folded in."""
    _resample(tally)
    return UnitCounts(
        int(tally.n_utterances),
        tally.frames,
        tally.runs,
        merge_codes(tally.pairs),
        merge_codes(tally.run_lengths),
        tally.resampled_frames,
        tally.resampled_runs,
    )


def merge_counts(parts: Iterable[UnitCounts]) -> UnitCounts:
    """The counts of several splits together."""
    columns = UnitCounts(*zip(*parts))
    return UnitCounts(
        sum(columns.n_utterances),
        sum(columns.frames),
        sum(columns.runs),
        merge_codes([*columns.pairs]),
        merge_codes([*columns.run_lengths]),
        sum(columns.resampled_frames),
        sum(columns.resampled_runs),
    )
