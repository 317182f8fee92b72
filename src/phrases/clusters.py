"""Pairs of places -> clusters of places that all say the same.

Places that overlap are one place. Clusters grow from the surest pairs on, and two are joined only where enough of all
pairs between them were found: one false pair does not make one cluster of two words. Axes: L pairs, N places.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from phrases.pairs import FoundPairs

MIN_OVERLAP = 0.5  # of the longer of two places, that makes them one
MIN_LINKED = 0.5  # of all pairs between two clusters, that joins them


class Place(NamedTuple):
    """A stretch of a segment, in frames."""

    segment: int
    start: int
    stop: int


class Cluster(NamedTuple):
    """Places that say the same, the most typical first, with how well each fits the others (0 to 1)."""

    places: list[Place]
    fits: list[float]
    tightness: float  # share of its pairs that were found


def cluster_pairs(found: FoundPairs) -> list[Cluster]:
    """Clusters of two places and more; each place in one cluster, places of a cluster apart."""
    places, links = merge_places(found)
    owner = list(range(len(places)))
    members = {number: [number] for number in owner}
    between: dict[int, Counter[int]] = {number: Counter() for number in owner}
    for one, other in links:
        between[one][other] += 1
        between[other][one] += 1
    for one, other in sorted(links, key=lambda pair: (-links[pair], pair)):
        a, b = owner[one], owner[other]
        if a != b and between[a][b] >= MIN_LINKED * len(members[a]) * len(members[b]):
            _join(*((a, b) if len(members[a]) >= len(members[b]) else (b, a)), owner, members, between)
    clusters = [_describe(group, places, links) for group in members.values() if len(group) > 1]
    return [cluster for cluster in clusters if len(cluster.places) > 1]


def _join(
    large: int, small: int, owner: list[int], members: dict[int, list[int]], between: dict[int, Counter[int]]
) -> None:
    """The ``small`` cluster into the ``large`` one."""
    for number in members[small]:
        owner[number] = large
    members[large] += members.pop(small)
    for third, count in between.pop(small).items():
        del between[third][small]
        if third != large:
            between[large][third] += count
            between[third][large] += count


def merge_places(found: FoundPairs) -> tuple[list[Place], dict[tuple[int, int], float]]:
    """Places without repeats, and the best score of each pair of them (the lower number first).

    The places found most often come first, and each takes in what overlaps it by over half.
    """
    raw: list[Place] = []
    for (one, other), (start, stop, first, last) in zip(found.pairs.segments, found.pairs.spans):
        raw += [Place(int(one), int(start), int(stop)), Place(int(other), int(first), int(last))]
    counts = Counter(raw)
    kept: dict[int, list[int]] = {}
    places: list[Place] = []
    number_of: dict[Place, int] = {}
    for place in sorted(counts, key=lambda one: (-counts[one], one.start - one.stop, one)):
        near = [(overlap(place, places[number]), -number) for number in kept.get(place.segment, [])]
        best, number = max(near, default=(0.0, 0))
        if best < MIN_OVERLAP:
            number = -len(places)
            places.append(place)
            kept.setdefault(place.segment, []).append(-number)
        number_of[place] = -number
    links: dict[tuple[int, int], float] = {}
    for at, score in enumerate(found.scores):
        one, other = sorted((number_of[raw[2 * at]], number_of[raw[2 * at + 1]]))
        if one != other:
            links[one, other] = max(links.get((one, other), 0.0), float(score))
    return places, links


def overlap(one: Place, other: Place) -> float:
    """Shared frames over those of the longer place; 0 in different segments."""
    if one.segment != other.segment:
        return 0.0
    shared = min(one.stop, other.stop) - max(one.start, other.start)
    return max(shared, 0) / max(one.stop - one.start, other.stop - other.start)


def _describe(group: Sequence[int], places: Sequence[Place], links: dict[tuple[int, int], float]) -> Cluster:
    inside: dict[int, list[float]] = {number: [] for number in group}
    for at, one in enumerate(group):
        for other in group[at + 1 :]:
            if (score := links.get((min(one, other), max(one, other)))) is not None:
                inside[one].append(score)
                inside[other].append(score)
    order = sorted(group, key=lambda number: (-sum(inside[number]), number))
    kept: list[int] = []
    for number in order:
        place = places[number]
        rivals = [places[other] for other in kept if places[other].segment == place.segment]
        if all(place.stop <= rival.start or place.start >= rival.stop for rival in rivals):
            kept.append(number)
    n_pairs = len(group) * (len(group) - 1)
    fits = [len(inside[number]) / (len(group) - 1) for number in kept]
    return Cluster([places[number] for number in kept], fits, sum(map(len, inside.values())) / n_pairs)


def rank_clusters(
    clusters: Sequence[Cluster], speakers: Sequence[str | None], recordings: Sequence[str]
) -> list[Cluster]:
    """What most speakers say in most recordings first. speakers, recordings: of each segment."""

    def key(cluster: Cluster) -> tuple:
        segments = [place.segment for place in cluster.places]
        said_by = {speakers[number] for number in segments}
        heard_in = {recordings[number] for number in segments}
        longest = np.median([place.stop - place.start for place in cluster.places])
        return -len(said_by), -len(heard_in), -len(segments), -cluster.tightness, -longest, cluster.places[0]

    return sorted(clusters, key=key)
