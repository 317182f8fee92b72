"""How far the splits of a small corpus would differ if its utterances were dealt to them by chance.

A few seconds hold few of several hundred units: they look poor and unlike the rest, whoever speaks. What real splits
differ by means something only beyond that.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from core.records import Utterance
from units.quality import divergence_bits, entropy_bits

N_DEALS = 40
CHANCE_PERCENTILE = 95
MOST_FRAMES = 3_600_000  # 20 h: in more, no split is so small that chance matters


class ChanceDifferences(NamedTuple):
    """What 95 % of the splits dealt by chance stay below."""

    drift_bits: dict[str, float]  # of each pair of splits
    bits_per_second: dict[str, float]  # by how much val and test differ from train


NO_CHANCE = ChanceDifferences({}, {})


def measure_chance(utterances: Iterable[Utterance], *, n_units: int, seed: int) -> ChanceDifferences:
    """Deal the utterances ``N_DEALS`` times to splits of as many frames as the real ones hold.

    Nothing is measured of a corpus of over 20 h, or of fewer than two utterances.
    """
    splits: list[str] = []
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    n_frames: dict[str, int] = {}
    for one in utterances:
        frames = sum(one["durations"])
        if not frames:
            continue
        n_frames[one["split"]] = n_frames.get(one["split"], 0) + frames
        if sum(n_frames.values()) > MOST_FRAMES:
            return NO_CHANCE
        splits.append(one["split"])
        tables.append((np.asarray(one["units"], np.int64), np.asarray(one["durations"], np.int64)))
    if len(n_frames) < 2:
        return NO_CHANCE
    rng = np.random.default_rng(seed)
    deals = [_deal(tables, n_frames, n_units, rng.permutation(len(tables))) for _ in range(N_DEALS)]
    drifts = {
        f"{one}-{other}": _percentile([divergence_bits(deal[one], deal[other]) for deal in deals])
        for one, other in combinations(sorted(n_frames, key=list(deals[0]).index), 2)
    }
    rates = [{split: UNIT_RATE * float(entropy_bits(counts)) for split, counts in deal.items()} for deal in deals]
    others = [split for split in n_frames if split != "train" and "train" in n_frames]
    return ChanceDifferences(
        drifts, {split: _percentile([abs(rate[split] - rate["train"]) for rate in rates]) for split in others}
    )


def _percentile(values: list[float]) -> float:
    return float(np.percentile(values, CHANCE_PERCENTILE))


def _deal(
    tables: list[tuple[np.ndarray, np.ndarray]], n_frames: Mapping[str, int], n_units: int, order: np.ndarray
) -> dict[str, np.ndarray]:
    """Split -> (K,) frames a unit, of utterances in a random order, cut where a split has its frames."""
    units = np.concatenate([np.repeat(*tables[place]) for place in order])
    splits = [split for split in ("train", "val", "test") if split in n_frames]
    ends = np.cumsum([n_frames[split] for split in splits])
    parts = np.split(units, ends[:-1])
    return {split: np.bincount(part, minlength=n_units) for split, part in zip(splits, parts)}
