"""How good a set of units is, judged by the units alone: usage, entropy, bitrate, run lengths, transitions, speakers.

Entropies are plug-in estimates in bits. Bits per second follow the ZeroSpeech challenges ("TTS without T", 2019/2020):
entropy of the symbols times symbols a second, durations not counted unless said. ``unit_report.json`` holds the tuples
of this module as objects, field by field. Axes: N streams, K units, R resamples, S speakers.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from units.tally import MAX_RUN, UnitCounts

MOST_USED = 10
PERCENTILES = (10, 25, 50, 75, 90, 99)


class Interval(NamedTuple):
    """A measure and its 95 % interval, None without resamples."""

    value: float
    low: float | None
    high: float | None


class BitRates(NamedTuple):
    """Bits per second, each defined by what it leaves out. The conditional ones are optimistic while pairs are few."""

    nominal: float  # log2(K) * 50: every unit equally likely
    frames: Interval  # entropy of the unit of a frame * 50: the headline
    frames_conditional: float  # entropy of a frame's unit given the one before * 50
    deduplicated: Interval  # entropy of a unit * units a second, timing not counted
    deduplicated_conditional: float  # the same given the unit before
    deduplicated_timed: float  # entropy of a unit and its duration together * units a second
    residual: list[float]  # as frames, for each further stream
    total: float  # frames and residual


class RunLengths(NamedTuple):
    """How long a unit lasts, in frames of 20 ms."""

    mean: float
    p10: int
    p25: int
    p50: int
    p75: int
    p90: int
    p99: int
    max: int
    single_frame_percent: float  # of the runs


class Transitions(NamedTuple):
    """Which units follow which."""

    pairs: int  # neighbouring units
    distinct: int
    distinct_percent: float  # of K * (K - 1)
    self_percent: float  # of neighbouring frames
    commonest: list[dict[str, float]]  # from, to, count, percent


class UnitUsage(NamedTuple):
    """How often one unit is used."""

    unit: int
    frames: int
    percent: float  # of the frames
    runs: int
    mean_run_frames: float


class UnitSummary(NamedTuple):
    """All measures of one split."""

    n_utterances: int
    seconds: float
    units: int  # deduplicated
    units_per_second: float
    used_units: int
    dead_units: list[int]  # never used
    dead_percent: float  # of K
    entropy_bits: Interval  # of the unit of a frame
    effective_units: Interval  # 2 to the entropy
    bits_per_second: BitRates
    run_frames: RunLengths
    transitions: Transitions
    most_used: list[UnitUsage]


class SpeakerDependence(NamedTuple):
    """How much the unit of one frame says about its speaker."""

    n_speakers: int
    mutual_information_bits: float
    by_chance_bits: float  # the same with speakers dealt out at random
    speaker_entropy_bits: float
    percent_of_speaker_entropy: float  # beyond chance; good units are near 0


def as_json(value: object) -> object:
    """Named tuples, wherever in ``value``, as objects of JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return as_json(value._asdict())
    if isinstance(value, dict):
        return {key: as_json(entry) for key, entry in value.items()}
    return [as_json(entry) for entry in value] if isinstance(value, list) else value


def entropy_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Shannon entropy in bits of non-negative counts along ``axis``; 0 where there are none.

    H = log2(N) - sum(n log2 n) / N (C. Shannon, 1948), the plug-in estimate: low when N is small against the cells.
    """
    counts = np.asarray(counts, np.float64)
    total = np.maximum(counts.sum(axis), 1e-300)
    weighted = (counts * np.log2(np.where(counts > 0, counts, 1.0))).sum(axis)
    return np.maximum(np.where(counts.sum(axis) > 0, np.log2(total) - weighted / total, 0.0), 0.0)


def divergence_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence of two (K,) counts in bits: 0 for equal proportions, 1 for nothing in common.

    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37 (1991).
    """
    if first.sum() == 0 or second.sum() == 0:
        raise ValueError("expected counts on both sides, found an empty one")
    p, q = first / first.sum(), second / second.sum()
    return float(max(0.0, entropy_bits((p + q) / 2) - (entropy_bits(p) + entropy_bits(q)) / 2))


def mutual_information_bits(table: np.ndarray) -> float:
    """Mutual information in bits of the rows and columns of a (S, K) table of counts."""
    table = np.asarray(table)
    joint = float(entropy_bits(table.reshape(-1)))
    return max(0.0, float(entropy_bits(table.sum(1)) + entropy_bits(table.sum(0))) - joint)


def with_interval(value: float, resampled: np.ndarray) -> Interval:
    """A 95 % interval from (R,) resamples, moved so that their mean is the value.

    Resampled utterances repeat, and so lose diversity: every resampled plug-in entropy is low by about the same
    amount, and an interval left where it falls would often exclude the value itself.
    """
    if len(resampled) == 0:
        return Interval(float(value), None, None)
    low, high = np.quantile(resampled, [0.025, 0.975]) - resampled.mean() + value
    return Interval(float(value), float(low), float(high))


def summarize_counts(counts: UnitCounts) -> UnitSummary:
    """All measures of one split; see ``docs/phase1.md`` for the definitions."""
    frames, runs = counts.frames[0], counts.runs
    if frames.sum() == 0:
        raise ValueError("expected at least one frame, found none")
    dead = np.flatnonzero(frames == 0)
    return UnitSummary(
        n_utterances=counts.n_utterances,
        seconds=float(frames.sum() / UNIT_RATE),
        units=int(runs.sum()),
        units_per_second=float(runs.sum() / frames.sum() * UNIT_RATE),
        used_units=int(len(frames) - len(dead)),
        dead_units=dead.tolist(),
        dead_percent=float(100 * len(dead) / len(frames)),
        entropy_bits=_resampled(counts, lambda frames, runs: entropy_bits(frames)),
        effective_units=_resampled(counts, lambda frames, runs: 2 ** entropy_bits(frames)),
        bits_per_second=bitrates(counts),
        run_frames=run_length_stats(counts),
        transitions=transition_stats(counts),
        most_used=most_used_units(frames, runs),
    )


def _resampled(counts: UnitCounts, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Interval:
    """``measure`` of the (K,) frame and run counts, with its interval from the (R, K) resampled ones."""
    frames, runs = counts.resampled_frames, counts.resampled_runs
    filled = frames.sum(1) > 0  # with few utterances a resample may draw none
    return with_interval(measure(counts.frames[0], counts.runs), measure(frames[filled], runs[filled]))


def bitrates(counts: UnitCounts) -> BitRates:
    """Bits per second of one split."""
    frames, runs = counts.frames, counts.runs
    rate = runs.sum() / frames[0].sum() * UNIT_RATE
    residual = [float(entropy_bits(stream) * UNIT_RATE) for stream in frames[1:]]
    frame_rate = _resampled(counts, lambda frames, runs: entropy_bits(frames) * UNIT_RATE)
    return BitRates(
        nominal=float(np.log2(frames.shape[1]) * UNIT_RATE * len(frames)),
        frames=frame_rate,
        frames_conditional=float(conditional_entropy_bits(counts, self_transitions=True) * UNIT_RATE),
        deduplicated=_resampled(counts, lambda f, r: entropy_bits(r) * r.sum(-1) / f.sum(-1) * UNIT_RATE),
        deduplicated_conditional=float(conditional_entropy_bits(counts, self_transitions=False) * rate),
        deduplicated_timed=float(entropy_bits(counts.run_lengths.counts) * rate),
        residual=residual,
        total=frame_rate.value + sum(residual),
    )


def conditional_entropy_bits(counts: UnitCounts, *, self_transitions: bool) -> float:
    """H(next | this) in bits over neighbouring units or, with ``self_transitions``, over neighbouring frames.

    Neighbouring frames are the neighbouring units plus, in a run of d frames, d - 1 pairs of equal ones.
    """
    n_units = len(counts.runs)
    codes, times = counts.pairs
    if self_transitions:
        codes = np.concatenate([codes, np.arange(n_units) * (n_units + 1)])
        times = np.concatenate([times, counts.frames[0] - counts.runs])
    before = np.bincount(codes // n_units, weights=times, minlength=n_units)
    return max(0.0, float(entropy_bits(times) - entropy_bits(before)))


def run_length_stats(counts: UnitCounts) -> RunLengths:
    """Mean, percentiles and maximum of the run lengths; share of runs of one frame."""
    codes, times = counts.run_lengths
    lengths, places = np.unique(codes % MAX_RUN, return_inverse=True)
    times = np.bincount(places, weights=times)
    cumulated = np.cumsum(times) / times.sum()
    percentiles = [int(lengths[np.searchsorted(cumulated, p / 100 - 1e-12)]) for p in PERCENTILES]
    single = times[lengths == 1].sum() / times.sum()
    mean = float((lengths * times).sum() / times.sum())
    return RunLengths(mean, *percentiles, int(lengths[-1]), float(100 * single))


def transition_stats(counts: UnitCounts) -> Transitions:
    """Distinct pairs seen, of how many possible, staying put, and the commonest."""
    n_units = len(counts.runs)
    codes, times = counts.pairs
    n_pairs, frames = int(times.sum()), counts.frames[0]
    stays = frames.sum() - counts.runs.sum()
    return Transitions(
        pairs=n_pairs,
        distinct=len(codes),
        distinct_percent=float(100 * len(codes) / max(1, n_units * (n_units - 1))),
        self_percent=float(100 * stays / max(1, stays + n_pairs)),
        commonest=[
            {
                "from": int(codes[place] // n_units),
                "to": int(codes[place] % n_units),
                "count": int(times[place]),
                "percent": float(100 * times[place] / n_pairs),
            }
            for place in np.lexsort((codes, -times))[:MOST_USED]
        ],
    )


def most_used_units(frames: np.ndarray, runs: np.ndarray) -> list[UnitUsage]:
    """The units with most frames: (K,) frame counts and (K,) run counts -> rows, most used first."""
    order = np.lexsort((np.arange(len(frames)), -frames))[:MOST_USED]
    return [
        UnitUsage(
            unit=int(unit),
            frames=int(frames[unit]),
            percent=float(100 * frames[unit] / frames.sum()),
            runs=int(runs[unit]),
            mean_run_frames=float(frames[unit] / runs[unit]),
        )
        for unit in order
        if frames[unit]
    ]


def speaker_dependence(table: np.ndarray, shuffled: np.ndarray) -> SpeakerDependence:
    """How much the unit of one frame says about its speaker, from (S, K) frame counts.

    ``shuffled`` is the same table with speakers dealt out to utterances at random: what utterances of finite length
    show by chance alone.
    """
    speaker_entropy = float(entropy_bits(table.sum(1)))
    information, chance = mutual_information_bits(table), mutual_information_bits(shuffled)
    share = 100 * max(0.0, information - chance) / speaker_entropy if speaker_entropy else 0.0
    return SpeakerDependence(
        n_speakers=int((table.sum(1) > 0).sum()),
        mutual_information_bits=information,
        by_chance_bits=chance,
        speaker_entropy_bits=speaker_entropy,
        percent_of_speaker_entropy=share,
    )
