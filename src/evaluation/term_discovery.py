"""How good discovered stretches are, by phones: the term-discovery measures of the ZeroSpeech challenges.

B. Ludusan et al. (2014), "Bridging the gap between speech technology and natural language processing: an evaluation
toolbox for term discovery systems", LREC. Axes: N phones of a recording.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rapidfuzz.distance import Levenshtein

MIN_SHARE, MIN_SECONDS = 0.5, 0.03  # of a phone, that a stretch must hold to have said it


class PhoneTier(NamedTuple):
    """What is said in a recording."""

    starts: np.ndarray  # (N,) s
    ends: np.ndarray  # (N,) s
    phones: Sequence[str]  # N; silence is ""
    words: np.ndarray  # s, where words begin or end


class Stretch(NamedTuple):
    """A discovered place."""

    source: str
    start: float  # s
    end: float


def phones_of(tier: PhoneTier, stretch: Stretch) -> range:
    """Numbers of the phones that a stretch holds by half, or by 30 ms; they are neighbours."""
    shared = np.minimum(tier.ends, stretch.end) - np.maximum(tier.starts, stretch.start)
    held = np.flatnonzero((shared >= MIN_SHARE * (tier.ends - tier.starts)) | (shared >= MIN_SECONDS))
    return range(int(held[0]), int(held[-1]) + 1) if len(held) else range(0)


def spoken_phones(tiers: Mapping[str, PhoneTier], stretch: Stretch) -> tuple[str, ...]:
    tier = tiers[stretch.source]
    return tuple(tier.phones[at] for at in phones_of(tier, stretch) if tier.phones[at])


def edit_distances(tiers: Mapping[str, PhoneTier], clusters: Iterable[Sequence[Stretch]]) -> list[float]:
    """Of each pair of places in a cluster, the edits between their phones over the longer one's: 0 is the same.

    NED is the mean of these. A pair without any phone counts as 1.
    """
    values = []
    for cluster in clusters:
        said = [spoken_phones(tiers, stretch) for stretch in cluster]
        for one, other in itertools.combinations(said, 2):
            values.append(Levenshtein.normalized_distance(one, other) if one or other else 1.0)
    return values


def coverage(tiers: Mapping[str, PhoneTier], stretches: Iterable[Stretch]) -> float:
    """Share of all phones but silence that some stretch holds."""
    held: dict[str, set[int]] = {source: set() for source in tiers}
    for stretch in stretches:
        held[stretch.source].update(phones_of(tiers[stretch.source], stretch))
    spoken = {source: {at for at, phone in enumerate(tier.phones) if phone} for source, tier in tiers.items()}
    total = sum(map(len, spoken.values()))
    return sum(len(held[source] & spoken[source]) for source in tiers) / total if total else 0.0


def boundary_scores(tiers: Mapping[str, PhoneTier], stretches: Iterable[Stretch]) -> dict[str, float]:
    """``precision``, ``recall`` and ``f1`` of the edges of stretches as edges of words.

    An edge is that of the outermost phone a stretch holds, so that a few ms do not matter; edges count once.
    """
    found = set()
    for stretch in stretches:
        tier = tiers[stretch.source]
        if held := phones_of(tier, stretch):
            edges = (tier.starts[held[0]], tier.ends[held[-1]])
            found |= {(stretch.source, round(float(edge), 3)) for edge in edges}
    true = {(source, round(float(edge), 3)) for source, tier in tiers.items() for edge in tier.words}
    right = len(found & true)
    precision, recall = right / len(found) if found else 0.0, right / len(true) if true else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(len(found) + len(true), 1)}
