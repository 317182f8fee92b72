"""Recordings grouped by their voices, and compared with who speaks."""

import numpy as np

import pytest

from segmentation import speaker_groups
from segmentation.speaker_groups import (
    compare_speakers,
    fit_to_group,
    group_vectors,
    join_small_groups,
    name_groups,
)


def voices(n_each: int, n_speakers: int = 3, *, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of length 1 around orthogonal directions, and whose they are."""
    who = np.repeat(np.arange(n_speakers), n_each)
    vectors = np.eye(16)[who] + spread * np.random.default_rng(seed).standard_normal((len(who), 16))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), who


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize("how", [{}, {"n_speakers": 3}])
def test_voices_apart_are_groups_apart(how: dict) -> None:
    vectors, who = voices(12)
    assert same_partition(group_vectors(vectors, **how), who)
    assert len(set(group_vectors(vectors, n_speakers=2))) == 2
    assert not group_vectors(vectors[:2]).any() and len(set(group_vectors(vectors[:2], n_speakers=5))) == 2


def test_one_voice_is_one_group_and_what_all_share_counts_for_nothing() -> None:
    alone, _ = voices(60, 1)
    assert not group_vectors(alone).any()
    vectors, who = voices(12)
    assert same_partition(group_vectors(vectors + 5.0), who)
    assert set(group_vectors(np.ones((9, 16)))) == {0}


def test_more_than_can_be_clustered_join_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, who = voices(40)
    monkeypatch.setattr(speaker_groups, "MOST_CLUSTERED", 30)
    assert same_partition(group_vectors(vectors), who)


def test_a_small_group_joins_the_nearest_large_one() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [0.6, 0.8]])
    groups, seconds = np.array([0, 0, 1, 1, 2]), np.array([9.0, 9, 9, 9, 1])
    assert join_small_groups(groups, vectors, seconds, 5.0).tolist() == [0, 0, 1, 1, 1]
    assert join_small_groups(groups, vectors, seconds, 100.0).tolist() == groups.tolist()


def test_names_go_by_time_and_the_doubtful_fit_least() -> None:
    assert name_groups(np.array([5, 2, 2]), np.array([3.0, 1, 1])) == ["speaker_1", "speaker_2", "speaker_2"]
    fits = fit_to_group(np.zeros(3, int), np.array([[1.0, 0], [1, 0], [0, 1]]))
    assert fits.argmin() == 2 and fits[0] == pytest.approx(2 / 5**0.5)


def test_purity_falls_where_speakers_are_mixed_and_coverage_where_one_is_torn() -> None:
    true = {"a": "x", "b": "x", "c": "y", "other": "z"}
    seconds = dict.fromkeys("abc", 1.0) | {"c": 2.0}
    assert compare_speakers({"a": "1", "b": "1", "c": "2"}, true, seconds) == (1, 1, 2, 2)
    assert compare_speakers({"a": "1", "b": "1", "c": "1"}, true, seconds) == (0.5, 1, 1, 2)
    assert compare_speakers({"a": "1", "b": "2", "c": "3"}, true, seconds) == (1, 0.75, 3, 2)
