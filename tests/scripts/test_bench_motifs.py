"""Motifs against phones, by hand: whose phone is whose, and which motifs hold in test what they hold in train."""

import numpy as np

import pytest

from bench_motifs import held_phones, read_right


def test_a_phone_belongs_to_the_motif_that_its_middle_lies_in() -> None:
    phones = np.repeat([0, 1, 2, 0, 3], [3, 4, 6, 2, 5])  # middles at 1.5, 5, 10, 14 and 17.5 steps of 10 ms
    utterance = {"units": [7, 8, 7], "durations": [3, 4, 3]}  # edges at 6, 14 and 20 steps
    assert list(held_phones(utterance, phones)) == [(7, (1,)), (8, (2,)), (7, (3,))]


def test_motifs_are_read_as_what_they_hold_in_train() -> None:
    train = [(1, (5,)), (1, (5,)), (1, (6,)), (2, (5, 6)), (2, ()), (2, ())]
    test = [(1, (5,)), (1, (6,)), (2, (5, 6)), (2, (6, 6)), (3, (5,)), (2, ())]
    right, several = read_right({"train": train, "test": test})
    assert right == pytest.approx(3 / 7) and several == pytest.approx(2 / 4)
