"""How well units hold the phones of a language: PNMI, purities, phone error rate, boundaries. Pure functions.

Definitions are those of DiscoPhon, so that numbers can be compared: phones are read every 10 ms, each unit counts for
its two steps, and the silence is one of the phones. M. Poli et al., "DiscoPhon: Benchmarking the Unsupervised Discovery
of Phoneme Inventories With Discrete Speech Units", Interspeech 2026; PNMI and purities: W.-N. Hsu et al., "HuBERT",
IEEE/ACM TASLP 29 (2021); boundaries: O. Räsänen et al., "An Improved Speech Segmentation Quality Measure: the
R-value", Interspeech 2009. Axes: F frames of 20 ms, T = 2 F steps of 10 ms, P phones, K units.
"""

from typing import NamedTuple

import numpy as np

from rapidfuzz.distance import Levenshtein

from core.frames import UNIT_RATE
from units.quality import entropy_bits, mutual_information_bits

STEP_MS = 10  # phones are read so often
FRAME_MS = 1000 // UNIT_RATE
STEPS_A_FRAME = FRAME_MS // STEP_MS
MARGIN_MS = 20  # a boundary is found if a cut lies so near


class Hits(NamedTuple):
    """What the cuts of one or more utterances found; numbers or arrays of them."""

    hits: int  # boundaries with a cut near
    cuts: int
    boundaries: int


class BoundaryScores(NamedTuple):
    """Shares; ``f1`` and ``r_value`` are 1 for perfect cuts."""

    precision: float
    recall: float
    f1: float
    r_value: float
    cuts_a_boundary: float  # over 1: cut too often


def count_phones(frame_units: np.ndarray, phones: np.ndarray, n_units: int, n_phones: int) -> np.ndarray:
    """(F,) units and (2 F,) phones, both int -> (P, K) int64: steps of 10 ms with this phone and this unit."""
    codes = phone_codes(frame_units, phones, n_units)
    return np.bincount(codes, minlength=n_phones * n_units).reshape(n_phones, n_units)


def phone_codes(frame_units: np.ndarray, phones: np.ndarray, n_units: int) -> np.ndarray:
    """(F,) units and (2 F,) phones -> (2 F,) int64: phone * K + unit of every step. ValueError for other lengths."""
    if len(phones) != STEPS_A_FRAME * len(frame_units):
        raise ValueError(f"expected {STEPS_A_FRAME} phones a frame, found {len(phones)} for {len(frame_units)} frames")
    return np.asarray(phones, np.int64) * n_units + np.repeat(np.asarray(frame_units, np.int64), STEPS_A_FRAME)


def pnmi(table: np.ndarray) -> np.ndarray:
    """Mutual information of phones and units over the entropy of the phones, of (..., P, K) counts -> (...).

    1: a unit tells the phone; 0: it tells nothing, or there is one phone only. Zero counts add nothing.
    """
    table = np.asarray(table)
    if table.ndim == 2:
        entropy = float(entropy_bits(table.sum(1)))
        return np.float64(min(1.0, mutual_information_bits(table) / entropy) if entropy else 0.0)
    return np.stack([pnmi(one) for one in table]) if len(table) else np.zeros(0)


def phone_purity(table: np.ndarray) -> np.ndarray:
    """Share of the steps whose phone is the commonest one of their unit, of (..., P, K) counts."""
    return _share(np.asarray(table).max(-2).sum(-1), table)


def cluster_purity(table: np.ndarray) -> np.ndarray:
    """Share of the steps whose unit is the commonest one of their phone, of (..., P, K) counts; falls with K."""
    return _share(np.asarray(table).max(-1).sum(-1), table)


def _share(count: np.ndarray, table: np.ndarray) -> np.ndarray:
    return count / np.maximum(np.asarray(table).sum((-2, -1)), 1)


def phone_of_units(table: np.ndarray) -> np.ndarray:
    """(P, K) counts -> (K,) int64: the phone that each unit goes with most often; many units may share one.

    Of equally good phones, and for a unit that is never used, the commonest one is taken, as in DiscoPhon.
    """
    order = np.argsort(-np.asarray(table).sum(1), kind="stable")
    return order[np.asarray(table)[order].argmax(0)]


def merge_repeats(labels: np.ndarray) -> np.ndarray:
    """(T,) -> the labels without repeats: a a b b b a -> a b a."""
    labels = np.asarray(labels)
    return labels[np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))] if len(labels) else labels


def phone_errors(predicted: np.ndarray, phones: np.ndarray) -> tuple[int, int]:
    """(edits, phones in the reference) of predicted and true phones, repeats merged on both sides."""
    hypothesis, reference = merge_repeats(predicted).tolist(), merge_repeats(phones).tolist()
    return Levenshtein.distance(hypothesis, reference), len(reference)


def change_times(labels: np.ndarray, step_ms: int) -> np.ndarray:
    """(T,) labels, one every ``step_ms`` -> times in whole ms at which they change; start and end are none."""
    return (np.flatnonzero(np.diff(np.asarray(labels))) + 1) * step_ms


def find_boundaries(cuts: np.ndarray, boundaries: np.ndarray, margin_ms: int = MARGIN_MS) -> Hits:
    """Which true ``boundaries`` have one of the ``cuts`` near; both ascending times in whole ms.

    A boundary owns the time up to ``margin_ms`` on either side, but no further than half-way to its neighbour (the
    middle itself is the earlier one's). So no time has two owners: a cut counts for one boundary at most, and of
    several cuts near a boundary one counts as a hit, the others as false.
    """
    cuts, times = np.asarray(cuts, np.int64), np.asarray(boundaries, np.int64)
    lowest, highest = np.maximum(times - margin_ms, 0), times + margin_ms
    middles = (times[:-1] + times[1:]) // 2
    highest[:-1] = np.minimum(highest[:-1], middles)
    lowest[1:] = np.maximum(lowest[1:], middles + 1)
    following = np.searchsorted(cuts, lowest)
    nearest = np.append(cuts, np.iinfo(np.int64).max)[following]
    return Hits(int((nearest <= highest).sum()), len(cuts), len(times))


def score_boundaries(found: Hits) -> BoundaryScores:
    """Precision, recall, F1 and R-value of counts; arrays of counts give arrays. 0 where nothing can be divided.

    The R-value is 1 minus the mean distance from two ideals: all found without a cut too many, and no cut too many
    at this recall. Unlike F1 it does not grow with cuts at random.
    """
    hits, cuts, boundaries = (np.asarray(count, np.float64) for count in found)
    precision, recall = hits / np.maximum(cuts, 1), hits / np.maximum(boundaries, 1)
    f1 = 2 * hits / np.maximum(cuts + boundaries, 1)
    surplus = cuts / np.maximum(boundaries, 1) - 1
    from_ideal = np.hypot(1 - recall, surplus)
    from_line = np.abs(recall - 1 - surplus) / np.sqrt(2)
    return BoundaryScores(precision, recall, f1, 1 - (from_ideal + from_line) / 2, surplus + 1)


def random_cuts(n_cuts: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """``n_cuts`` different borders between ``n_frames`` frames, ascending, in ms: what cuts find by chance."""
    borders = rng.choice(max(0, n_frames - 1), size=n_cuts, replace=False)
    return np.sort(borders + 1) * FRAME_MS


def shuffle_runs(frame_units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(F,) units with their runs in random order: the same units and durations at other times."""
    frame_units = np.asarray(frame_units)
    runs = np.split(frame_units, np.flatnonzero(np.diff(frame_units)) + 1)
    return np.concatenate([runs[place] for place in rng.permutation(len(runs))])
