"""What is found between two strings of units, and where the line to chance is drawn."""

import numpy as np

import pytest

from phrases.clusters import Place, cluster_pairs, merge_places
from phrases.local_alignment import GAP, align_windows
from phrases.pairs import FoundPairs, Pairs, choose_pairs
from phrases.runs import PAUSE_FRAMES, make_runs, shuffle_frames
from phrases.seeds import find_windows


def table(n: int) -> np.ndarray:
    return (2 * np.eye(n) - 1).astype(np.float32)


def test_units_lie_between_pauses_and_in_one_segment() -> None:
    codes = np.array([1, 0, 2, *[0] * PAUSE_FRAMES, 2, 2, 3, 3, 1])
    end, whole = 6 + PAUSE_FRAMES, 8 + PAUSE_FRAMES
    runs = make_runs(codes, np.array([0, end, whole]), np.arange(4) == 0)
    assert runs.units.tolist() == [1, 0, 2, 2, 3, 3, 1]  # a closure is no pause
    starts = [0, 1, 2, end - 3, end - 1, 0, 1]
    assert runs.starts.tolist() == starts and runs.stops.tolist() == [1, 2, 3, end - 1, end, 1, 2]
    assert runs.segments.tolist() == [0, 0, 0, 0, 0, 1, 1] and len(set(runs.runs.tolist())) == 3


def test_a_null_has_the_same_sounds_between_the_same_pauses_and_no_word() -> None:
    codes = np.concatenate([np.zeros(30, int), np.arange(1, 101), np.zeros(30, int), np.arange(101, 171)])
    bounds = np.array([0, 160, len(codes)])
    runs = make_runs(codes, bounds, np.arange(171) == 0)
    order = shuffle_frames(runs, bounds, seed=0)
    shuffled = codes[order]
    assert sorted(order) == list(range(len(codes))) and (shuffled == 0).tolist() == (codes == 0).tolist()
    assert set(shuffled[30:130]) == set(range(1, 101)) and shuffled.tolist() != codes.tolist()
    kept = np.diff(shuffled[30:130]) == 1  # nine tenths, by stretches of ten
    assert kept.sum() >= 90 and not kept.all()  # slopes stay, words do not


@pytest.mark.parametrize(
    ("one", "other", "score", "place"),
    [
        ([9, 1, 2, 3, 4, 8], [7, 7, 1, 2, 3, 4], 4.0, [1, 5, 2, 6]),
        ([1, 2, 3, 4], [1, 2, 6, 3, 4], 4 - float(GAP), [0, 4, 0, 5]),
        ([1, 2], [3, 4], 0.0, None),
    ],
)
def test_the_best_stretch_is_aligned(one: list[int], other: list[int], score: float, place: list[int] | None) -> None:
    window = np.array([[0, len(one), 0, len(other)]])
    scores, places = align_windows(np.array(one), np.array(other), window, table(10))
    assert scores[0] == pytest.approx(score)
    assert place is None or places[0].tolist() == place


def test_a_shared_string_makes_a_window_and_chance_does_not() -> None:
    rng, word = np.random.default_rng(0), np.arange(20, 30)
    segments = [rng.integers(0, 20, 60) for _ in range(6)]
    segments[1][10:20], segments[4][40:50] = word, word
    bounds = np.concatenate([[0], np.cumsum([len(one) for one in segments])])
    runs = make_runs(np.concatenate(segments), bounds, np.zeros(30, bool))
    windows = find_windows(runs, runs, np.arange(30), itself=True)
    pairs = {(int(runs.segments[a]), int(runs.segments[c])) for a, _, c, _ in windows}
    assert (1, 4) in pairs and len(pairs) <= 3


def pairs_of(costs: list[float], n_frames: int = 10) -> Pairs:
    n = len(costs)
    spans = np.tile([0, n_frames, 0, n_frames], (n, 1))
    return Pairs(np.stack([np.arange(n), np.arange(n) + 100], axis=1), spans, np.array(costs, np.float32))


def test_the_threshold_leaves_the_share_of_false_pairs_that_is_allowed() -> None:
    found = pairs_of([0.1] * 8 + [0.3] * 4 + [0.5] * 10)
    null = pairs_of([0.29, 0.6, 0.45, 0.45, 0.7, 0.8])
    chosen = choose_pairs(found, null, 0.1)
    assert len(chosen.scores) == 12 and chosen.false_share == pytest.approx(1 / 12)
    assert len(choose_pairs(found, null, 0.05).scores) == 8
    assert choose_pairs(pairs_of([0.7]), null, 0.1).threshold is None


def found_links(links: list[tuple[int, int, float]]) -> FoundPairs:
    """Pairs between whole segments of 30 frames."""
    segments = np.array([[a, b] for a, b, _ in links])
    spans = np.tile([0, 30, 0, 30], (len(links), 1))
    return FoundPairs(Pairs(segments, spans, np.zeros(len(links))), np.array([s for *_, s in links]), 0.0, 0.0)


def test_one_false_pair_does_not_join_two_words() -> None:
    cliques = [(a + base, b + base, 5.0) for base in (0, 4) for a in range(4) for b in range(a + 1, 4)]
    clusters = cluster_pairs(found_links([*cliques, (3, 4, 9.0)]))
    joined = sorted(sorted(place.segment for place in cluster.places) for cluster in clusters)
    assert {tuple(one) for one in joined} & {(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2), (5, 6, 7)}
    assert max(map(len, joined)) <= 5
    plain = cluster_pairs(found_links(cliques))
    assert sorted(len(cluster.places) for cluster in plain) == [4, 4] and plain[0].tightness == 1


def test_places_that_overlap_are_one_place() -> None:
    spans = np.array([[0, 30, 5, 35], [2, 31, 40, 70], [60, 90, 5, 35]])
    segments = np.array([[0, 1], [0, 2], [0, 1]])
    places, links = merge_places(FoundPairs(Pairs(segments, spans, np.zeros(3)), np.ones(3), 0.0, 0.0))
    assert sorted(places) == [Place(0, 0, 30), Place(0, 60, 90), Place(1, 5, 35), Place(2, 40, 70)]
    assert len(links) == 3
