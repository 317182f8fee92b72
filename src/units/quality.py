"""How good a set of units is, judged by the units alone: usage, entropy, bitrate, run lengths, transitions, speakers.

Entropies are plug-in estimates in bits. Bits per second follow the ZeroSpeech challenges ("TTS without T", 2019/2020):
entropy of the symbols times symbols a second, durations not counted unless said. Axes: K units, R resamples, S
speakers.
"""

from collections.abc import Callable

import numpy as np

from core.frames import UNIT_RATE
from units.tally import MAX_RUN

MOST_USED = 10
PERCENTILES = (10, 25, 50, 75, 90, 99)


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


def with_interval(value: float, resampled: np.ndarray) -> dict:
    """{"value", "low", "high"}: a 95 % interval from (R,) resamples, moved so that their mean is the value.

    Resampled utterances repeat, and so lose diversity: every resampled plug-in entropy is low by about the same
    amount, and an interval left where it falls would often exclude the value itself.
    """
    if len(resampled) == 0:
        return {"value": float(value), "low": None, "high": None}
    low, high = np.quantile(resampled, [0.025, 0.975]) - resampled.mean() + value
    return {"value": float(value), "low": float(low), "high": float(high)}


def summarize_tally(tally: dict) -> dict:
    """All measures of one finished tally; see ``docs/phase1.md`` for the definitions."""
    frames, runs = tally["frames"][0], tally["runs"]
    if frames.sum() == 0:
        raise ValueError("expected at least one frame, found none")
    entropy = _resampled(tally, lambda frames, runs: entropy_bits(frames))
    perplexity = _resampled(tally, lambda frames, runs: 2 ** entropy_bits(frames))
    dead = np.flatnonzero(frames == 0)
    return {
        "n_utterances": tally["n_utterances"],
        "seconds": float(frames.sum() / UNIT_RATE),
        "units": int(runs.sum()),
        "units_per_second": float(runs.sum() / frames.sum() * UNIT_RATE),
        "used_units": int(len(frames) - len(dead)),
        "dead_units": dead.tolist(),
        "dead_percent": float(100 * len(dead) / len(frames)),
        "entropy_bits": entropy,
        "effective_units": perplexity,
        "bits_per_second": bitrates(tally),
        "run_frames": run_length_stats(tally),
        "transitions": transition_stats(tally),
        "most_used": most_used_units(frames, runs),
    }


def _resampled(tally: dict, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> dict:
    """``measure`` of the (K,) frame and run counts, with its interval from the (R, K) resampled ones."""
    frames, runs = tally["resampled_frames"], tally["resampled_runs"]
    filled = frames.sum(1) > 0  # with few utterances a resample may draw none
    return with_interval(measure(tally["frames"][0], tally["runs"]), measure(frames[filled], runs[filled]))


def bitrates(tally: dict) -> dict:
    """Bits per second of one finished tally, each defined by what it leaves out.

    nominal: log2(K) * 50, every unit equally likely. frames: entropy of the unit of a frame * 50, the headline.
    frames_conditional: entropy of a frame's unit given the one before * 50. deduplicated: entropy of a unit * units a
    second, timing not counted. deduplicated_conditional: the same given the unit before. deduplicated_timed: entropy of
    a unit and its duration together * units a second. residual: as frames, for each further stream. total: frames plus
    residual. The conditional ones are optimistic while pairs are few against K squared.
    """
    frames, runs = tally["frames"], tally["runs"]
    rate = runs.sum() / frames[0].sum() * UNIT_RATE
    residual = [float(entropy_bits(stream) * UNIT_RATE) for stream in frames[1:]]
    frame_rate = _resampled(tally, lambda frames, runs: entropy_bits(frames) * UNIT_RATE)
    run_rate = _resampled(tally, lambda f, r: entropy_bits(r) * r.sum(-1) / f.sum(-1) * UNIT_RATE)
    return {
        "nominal": float(np.log2(frames.shape[1]) * UNIT_RATE * len(frames)),
        "frames": frame_rate,
        "frames_conditional": float(conditional_entropy_bits(tally, self_transitions=True) * UNIT_RATE),
        "deduplicated": run_rate,
        "deduplicated_conditional": float(conditional_entropy_bits(tally, self_transitions=False) * rate),
        "deduplicated_timed": float(entropy_bits(tally["run_lengths"]["counts"]) * rate),
        "residual": residual,
        "total": frame_rate["value"] + sum(residual),
    }


def conditional_entropy_bits(tally: dict, *, self_transitions: bool) -> float:
    """H(next | this) in bits over neighbouring units or, with ``self_transitions``, over neighbouring frames.

    Neighbouring frames are the neighbouring units plus, in a run of d frames, d - 1 pairs of equal ones.
    """
    n_units = len(tally["runs"])
    codes, counts = tally["pairs"]["codes"], tally["pairs"]["counts"]
    if self_transitions:
        stays = tally["frames"][0] - tally["runs"]
        codes = np.concatenate([codes, np.arange(n_units) * (n_units + 1)])
        counts = np.concatenate([counts, stays])
    before = np.bincount(codes // n_units, weights=counts, minlength=n_units)
    return max(0.0, float(entropy_bits(counts) - entropy_bits(before)))


def run_length_stats(tally: dict) -> dict:
    """Mean, percentiles and maximum of the run lengths, in frames of 20 ms; share of runs of one frame."""
    codes, counts = tally["run_lengths"]["codes"], tally["run_lengths"]["counts"]
    lengths, places = np.unique(codes % MAX_RUN, return_inverse=True)
    counts = np.bincount(places, weights=counts)
    cumulated = np.cumsum(counts) / counts.sum()
    percentiles = {f"p{p}": int(lengths[np.searchsorted(cumulated, p / 100 - 1e-12)]) for p in PERCENTILES}
    single = counts[lengths == 1].sum() / counts.sum()
    return {
        "mean": float((lengths * counts).sum() / counts.sum()),
        **percentiles,
        "max": int(lengths[-1]),
        "single_frame_percent": float(100 * single),
    }


def transition_stats(tally: dict) -> dict:
    """Which units follow which: distinct pairs seen, of how many possible, staying put, and the commonest."""
    n_units = len(tally["runs"])
    codes, counts = tally["pairs"]["codes"], tally["pairs"]["counts"]
    n_pairs, frames = int(counts.sum()), tally["frames"][0]
    order = np.lexsort((codes, -counts))[:MOST_USED]
    stays = frames.sum() - tally["runs"].sum()
    return {
        "pairs": n_pairs,
        "distinct": len(codes),
        "distinct_percent": float(100 * len(codes) / max(1, n_units * (n_units - 1))),
        "self_percent": float(100 * stays / max(1, stays + n_pairs)),
        "commonest": [
            {
                "from": int(codes[place] // n_units),
                "to": int(codes[place] % n_units),
                "count": int(counts[place]),
                "percent": float(100 * counts[place] / n_pairs),
            }
            for place in order
        ],
    }


def most_used_units(frames: np.ndarray, runs: np.ndarray) -> list[dict]:
    """The units with most frames: (K,) frame counts and (K,) run counts -> rows, most used first."""
    order = np.lexsort((np.arange(len(frames)), -frames))[:MOST_USED]
    return [
        {
            "unit": int(unit),
            "frames": int(frames[unit]),
            "percent": float(100 * frames[unit] / frames.sum()),
            "runs": int(runs[unit]),
            "mean_run_frames": float(frames[unit] / runs[unit]),
        }
        for unit in order
        if frames[unit]
    ]


def speaker_dependence(table: np.ndarray, shuffled: np.ndarray) -> dict:
    """How much the unit of one frame says about its speaker, from (S, K) frame counts.

    ``shuffled`` is the same table with speakers dealt out to utterances at random: what utterances of finite length
    show by chance alone. ``percent_of_speaker_entropy`` has that chance taken off. Good units are near 0.
    """
    speaker_entropy = float(entropy_bits(table.sum(1)))
    information, chance = mutual_information_bits(table), mutual_information_bits(shuffled)
    share = 100 * max(0.0, information - chance) / speaker_entropy if speaker_entropy else 0.0
    return {
        "n_speakers": int((table.sum(1) > 0).sum()),
        "mutual_information_bits": information,
        "by_chance_bits": chance,
        "speaker_entropy_bits": speaker_entropy,
        "percent_of_speaker_entropy": share,
    }
