"""Batches made ahead in threads are the batches made one by one."""

import itertools
from types import SimpleNamespace

import numpy as np
import torch

import pytest

from speech_llm.batches import make_batch, stream_batches
from speech_llm.feature_sources import FeatureSource, frames_of_duration, keep_all

DIM, SPEEDS = 4, (0.9, 1.0, 1.1)
# What a batch asks of a model: its device, its letters, its tokens.
MODEL = SimpleNamespace(
    device=torch.device("cpu"), units=None, characters=" abc", answer_ids=lambda text: [ord(letter) for letter in text]
)
ITEMS = [{"id": str(number), "text": "abc cab"[: 2 + number], "duration": 0.1 * (1 + number)} for number in range(5)]


def features_of(items: list[dict], speeds: list[float]) -> list[np.ndarray]:
    return [
        np.random.default_rng(int(item["id"])).normal(speed, 1, (frames_of_duration(item), DIM)).astype(np.float16)
        for item, speed in zip(items, speeds)
    ]


CACHED = FeatureSource(features_of, frames_of_duration, keep_all, in_dim=DIM)
# The same features, by an "encoder" that halves what a thread has loaded twice as large.
ENCODED = CACHED._replace(
    load=lambda items, speeds: [2 * row for row in features_of(items, speeds)],
    encode=lambda rows: [row / np.float16(2) for row in rows],
)
CHOSEN = [((0, number), indices) for number, indices in enumerate([[0, 1], [4], [2, 3], [1, 4]])]


def assert_same(one, other) -> None:
    assert torch.equal(one.features, other.features) and one.features.dtype == torch.float32
    assert torch.equal(one.lengths, other.lengths)
    assert (one.answers, one.smoothing) == (other.answers, other.smoothing)
    assert all(torch.equal(a, b) for a, b in zip(one.labels, other.labels, strict=True))


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("source", [CACHED, ENCODED], ids=["cached", "encoded"])
def test_ahead_or_one_by_one_a_batch_is_the_same(source: FeatureSource, n_workers: int) -> None:
    options = {"frame_dropout": 0.3, "speeds": SPEEDS, "smoothing": 0.1}
    expected = [make_batch(MODEL, CACHED, [ITEMS[i] for i in chosen], key=key, **options) for key, chosen in CHOSEN]
    steps = list(stream_batches(MODEL, source, ITEMS, CHOSEN, n_batches=2, n_workers=n_workers, **options))
    assert [len(step) for step in steps] == [2, 2]
    for one, other in zip(itertools.chain(*steps), expected, strict=True):
        assert_same(one, other)
    assert (expected[0].features == 0).any() and expected[0].lengths.tolist() == [5, 10]


def test_two_views_are_of_one_speed_and_lose_other_frames() -> None:
    batch = make_batch(MODEL, CACHED, ITEMS[2:], key=(0, 1), frame_dropout=0.5, speeds=SPEEDS, views=2)
    first, second = batch.features.split(3)
    both = (first != 0) & (second != 0)
    assert both.any() and torch.equal(first[both], second[both]) and not torch.equal(first, second)
    assert batch.views == 2 and torch.equal(*batch.lengths.split(3)) and batch.answers[:3] == batch.answers[3:]


def test_without_a_key_nothing_is_augmented() -> None:
    batch = make_batch(MODEL, CACHED, ITEMS[:2], frame_dropout=0.9, speeds=SPEEDS, smoothing=0.1)
    np.testing.assert_array_equal(batch.features[1], features_of(ITEMS[1:2], [1.0])[0].astype(np.float32))
    assert batch.smoothing == 0.0
