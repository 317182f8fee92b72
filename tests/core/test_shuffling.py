"""The shuffle without a table: a permutation, another for each key, without a pattern."""

import numpy as np

import pytest

from core.shuffling import shuffled_place


@pytest.mark.parametrize("n_items", [1, 2, 3, 7, 64, 1000, 4097])
def test_every_place_is_taken_once(n_items: int) -> None:
    places = [shuffled_place(item, n_items, 3, 0) for item in range(n_items)]
    assert sorted(places) == list(range(n_items))


def test_another_key_is_another_order() -> None:
    orders = [[shuffled_place(item, 500, *key) for item in range(500)] for key in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] == [shuffled_place(item, 500, 0, 0) for item in range(500)]
    same = [sum(a == b for a, b in zip(orders[0], other)) for other in orders[1:]]
    assert max(same) < 12, "two random orders share one place on average"


def test_neighbours_are_as_far_apart_as_in_a_random_order() -> None:
    n_items = 2000
    places = np.array([shuffled_place(item, n_items, 5) for item in range(n_items)])
    assert abs(np.abs(np.diff(places)).mean() / (n_items / 3) - 1) < 0.05
    assert abs(np.corrcoef(places, np.arange(n_items))[0, 1]) < 0.07


def test_a_billion_items_cost_nothing() -> None:
    assert 0 <= shuffled_place(10**9 - 1, 10**9, 0) < 10**9
    with pytest.raises(IndexError, match="found 10"):
        shuffled_place(10, 10, 0)
