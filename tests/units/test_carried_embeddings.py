"""New units' embeddings out of an old model's."""

from pathlib import Path

import numpy as np
import torch

import pytest

from core.errors import UserError
from units.carried_embeddings import (
    carry_embeddings,
    choose_utterances,
    embed_frames,
    listen,
    make_tables,
    same_clusters,
)
from units.kmeans import UnitClusters
from units.utterances import LoadedUtterance


def clusters(seed: int = 0, n_units: int = 6, n_streams: int = 1) -> UnitClusters:
    rng = np.random.default_rng(seed)
    books = [rng.standard_normal((n_units, 3)).astype(np.float32) for _ in range(n_streams)]
    return UnitClusters(books, np.zeros(3, np.float32), np.ones(3, np.float32))


def test_a_unit_starts_from_the_mean_over_its_frames_and_the_next_stream_from_what_is_left() -> None:
    embedded = np.array([[1.0, 0], [3, 0], [0, 5], [0, 7]])
    units = np.array([[0, 1], [0, 0], [2, 1], [2, 0]])
    first, second = carry_embeddings([(embedded[:1], units[:1]), (embedded[1:], units[1:])], n_units=3, n_streams=2)
    assert first.tolist() == [[2, 0], [1, 3], [0, 6]]  # unit 1 is never heard: the mean of all frames
    assert second.tolist() == [[0.5, 0.5], [-0.5, -0.5], [0, 0]]


def test_units_that_are_the_old_ones_under_other_numbers_get_their_rows() -> None:
    old, renumbered = torch.randn(6, 4), np.array([3, 1, 5, 0, 2, 4])
    frames = np.random.default_rng(0).integers(0, 6, (200, 1))
    (table,) = carry_embeddings([(embed_frames(frames, [old]), renumbered[frames])], n_units=6, n_streams=1)
    torch.testing.assert_close(table[renumbered], old)


def test_clusters_are_told_apart_by_what_they_hold() -> None:
    assert same_clusters(clusters(), clusters())
    assert not same_clusters(clusters(), clusters(seed=1))
    assert not same_clusters(clusters(), clusters(n_streams=2))
    assert not same_clusters(clusters(), clusters()._replace(description={"encoder": "mfcc"}))


def test_equal_clusters_keep_their_tables_and_unknown_encoders_cannot_listen() -> None:
    table = torch.randn(6, 4)
    (kept,) = make_tables([table], clusters(), clusters(), [], n_units=6, n_streams=1)
    assert torch.equal(kept, table) and kept.data_ptr() != table.data_ptr()
    with pytest.raises(UserError, match="--init: expected clusters that name their encoder, found none; export the"):
        list(listen(clusters(), []))


def test_an_embedding_is_the_sum_over_the_streams() -> None:
    tables = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 20.0], [30.0, 40.0]])]
    found = embed_frames(np.array([[0, 1], [1, 1], [1, 0]], np.int16), tables)
    assert found.tolist() == [[31, 42], [33, 44], [13, 24]] and found.dtype == np.float64


@pytest.mark.parametrize(("n", "seconds", "step"), [(9, 100.0, 1), (19, 100.0, 1), (20, 100.0, 2), (29, 100.0, 2)])
def test_every_second_one_is_heard_from_twice_the_time_on(n: int, seconds: float, step: int) -> None:
    utterances = [LoadedUtterance(str(place), Path(), np.zeros((500, 1)), np.zeros(500), None) for place in range(n)]
    chosen = choose_utterances(utterances, seconds)
    assert [one.id for one in chosen] == [str(place) for place in range(0, n, step)]


def test_a_long_corpus_is_heard_in_part() -> None:
    class Loaded:  # noqa: D101
        frame_units = np.zeros((500, 1))  # 10 s

    assert len(choose_utterances([Loaded()] * 100, 100.0)) == 10
    assert len(choose_utterances([Loaded()] * 3, 100.0)) == 3
