"""The term-discovery measures on cases that are counted by hand."""

import numpy as np

import pytest

from evaluation.term_discovery import (
    PhoneTier,
    Stretch,
    boundary_scores,
    coverage,
    edit_distances,
    phones_of,
    spoken_phones,
)

# a.wav: "kato" and "ma" with a pause between; each phone 0.1 s long. b.wav: "kati".
TIERS = {
    "a.wav": PhoneTier(np.arange(7) / 10, np.arange(1, 8) / 10, [*"kato", "", *"ma"], np.array([0.0, 0.4, 0.5, 0.7])),
    "b.wav": PhoneTier(np.arange(4) / 10, np.arange(1, 5) / 10, list("kati"), np.array([0.0, 0.4])),
}


def test_a_phone_is_held_by_half_or_by_30_ms() -> None:
    assert list(phones_of(TIERS["a.wav"], Stretch("a.wav", 0.08, 0.34))) == [1, 2, 3]
    assert list(phones_of(TIERS["a.wav"], Stretch("a.wav", 0.08, 0.32))) == [1, 2]
    assert spoken_phones(TIERS, Stretch("a.wav", 0.3, 0.6)) == ("o", "m")  # silence is not said
    assert not phones_of(TIERS["b.wav"], Stretch("b.wav", 0.5, 0.9))


def test_distances_are_edits_over_the_longer_and_pairs_stay_in_their_cluster() -> None:
    word, other = Stretch("a.wav", 0.0, 0.4), Stretch("b.wav", 0.0, 0.4)
    assert edit_distances(TIERS, [[word, other], [word]]) == [pytest.approx(1 / 4)]
    assert edit_distances(TIERS, [[word, Stretch("b.wav", 0.0, 0.2)]]) == [pytest.approx(2 / 4)]
    nothing = Stretch("a.wav", 0.41, 0.49)
    assert edit_distances(TIERS, [[nothing, nothing]]) == [1.0]


def test_coverage_counts_phones_once_and_no_silence() -> None:
    assert coverage(TIERS, [Stretch("a.wav", 0.0, 0.6), Stretch("a.wav", 0.1, 0.5)]) == pytest.approx(5 / 10)
    assert coverage(TIERS, []) == 0


def test_edges_are_right_where_a_word_begins_or_ends() -> None:
    found = [Stretch("a.wav", 0.01, 0.39), Stretch("a.wav", 0.0, 0.2)]  # edges 0, 0.4 and 0.2
    scores = boundary_scores(TIERS, found)
    assert (scores["precision"], scores["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 6))
    assert scores["f1"] == pytest.approx(2 * 2 / 9)
    assert boundary_scores(TIERS, [])["f1"] == 0


@pytest.mark.parametrize(("length", "held", "just_not"), [(0.04, 0.02, 0.0199), (0.2, 0.03, 0.0299)])
def test_half_of_a_short_phone_or_30_ms_of_a_long_one(length: float, held: float, just_not: float) -> None:
    tier = PhoneTier(np.array([0.0]), np.array([length]), ["a"], np.array([0.0, length]))
    assert len(phones_of(tier, Stretch("x", 0.0, held))) == 1 and not phones_of(tier, Stretch("x", 0.0, just_not))


def test_edges_are_the_same_within_a_millisecond() -> None:
    tiers = {"a": PhoneTier(np.array([0.1]), np.array([0.2]), ["a"], np.array([0.1004, 0.2006]))}
    assert boundary_scores(tiers, [Stretch("a", 0.1, 0.2)]) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    silence = {"a": tiers["a"]._replace(phones=[""], words=np.zeros(0))}
    assert coverage(silence, [Stretch("a", 0.1, 0.2)]) == 0
    assert boundary_scores(silence, []) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
