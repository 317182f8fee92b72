"""Length buckets: every item once an epoch, within bounds, alike on all ranks, resumable by the step."""

import itertools

import numpy as np

import pytest

from core.errors import UserError
from speech_llm.length_buckets import bucket_steps

LENGTHS = np.random.default_rng(0).integers(5, 400, 331).tolist()


def steps_of(world: int, last: int, *, lengths=LENGTHS, first: int = 0, **options) -> list[list[list[int]]]:
    """[step][rank] -> indices."""
    flags = {"max_positions": 2000, "seed": 3} | options
    ranks = [list(bucket_steps(lengths, **flags, first=first, last=last, rank=r, world=world)) for r in range(world)]
    return [list(step) for step in zip(*ranks, strict=True)]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("max_items", [None, 1, 16])
def test_every_item_once_an_epoch_over_all_ranks(world: int, max_items: int | None) -> None:
    batches = list(itertools.chain(*steps_of(world, 3 * 331, max_items=max_items)))
    assert all(batches)
    seen = np.zeros(len(LENGTHS), int)
    for batch in batches:
        assert len(set(batch)) == len(batch)
        seen[batch] += 1
        # An epoch's last step may hold the first batches of the next, never more.
        assert seen.max() - seen.min() <= 2
    whole = [index for batch in batches for index in batch]
    epochs = len(whole) // len(LENGTHS)
    assert epochs >= 3
    counts = np.bincount(whole, minlength=len(LENGTHS))
    assert counts.max() - counts.min() <= 1 + (world > 1)


def test_one_rank_sees_epoch_after_epoch() -> None:
    order = [index for step in steps_of(1, 200) for index in step[0]]
    epochs = [order[start : start + 331] for start in range(0, len(order) - 330, 331)]
    assert len(epochs) > 2
    assert all(sorted(epoch) == list(range(331)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_bounds_hold_and_batches_are_full(world: int) -> None:
    for step in steps_of(world, 60, max_items=40):
        for batch in step:
            assert len(batch) <= 40
            assert max(LENGTHS[index] for index in batch) * len(batch) <= 2000
    padded = [max(LENGTHS[i] for i in batch) * len(batch) for step in steps_of(world, 60) for batch in step]
    used = [sum(LENGTHS[i] for i in batch) for step in steps_of(world, 60) for batch in step]
    assert sum(used) / sum(padded) > 0.8  # little padding: lengths of a batch are alike
    assert np.median(padded) > 0.8 * 2000


def test_any_stretch_of_steps_is_the_same() -> None:
    whole = steps_of(2, 150)
    assert steps_of(2, 150, first=97) == whole[97:]
    assert steps_of(2, 97) == whole[:97]
    assert steps_of(2, 150, seed=4) != whole
    assert steps_of(2, 7, first=7) == []


def test_batches_of_a_step_are_alike_in_size() -> None:
    spreads = []
    for step in steps_of(4, 100):
        longest = [max(LENGTHS[index] for index in batch) for batch in step]
        spreads.append(max(longest) / min(longest))
    assert np.median(spreads) < 1.6
    shuffled = np.random.default_rng(0).permutation([batch for step in steps_of(4, 100) for batch in map(len, step)])
    assert np.std([len(batch) for step in steps_of(4, 100) for batch in step]) == pytest.approx(shuffled.std())


def test_company_changes_between_epochs() -> None:
    first, second = (
        {frozenset(pair) for step in part for pair in itertools.combinations(step[0], 2)}
        for part in (steps_of(1, 30, max_items=16), steps_of(1, 90, first=60, max_items=16))
    )
    assert len(first & second) < 0.5 * len(first)


def test_the_order_is_not_by_length() -> None:
    longest = [max(LENGTHS[index] for index in step[0]) for step in steps_of(1, 30)]
    assert np.abs(np.corrcoef(longest, np.arange(30))[0, 1]) < 0.5


def test_fewer_items_than_ranks_and_items_over_the_bound() -> None:
    steps = steps_of(4, 6, lengths=[10, 5000, 20])
    assert all(len(batch) >= 1 for step in steps for batch in step)
    counts = np.bincount([index for step in steps for batch in step for index in batch])
    assert counts.max() - counts.min() <= 2
    assert all(len(batch) == 1 for step in steps for batch in step if 1 in batch)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match="items to train on"):
        next(bucket_steps([], max_positions=10, seed=0, first=0, last=1))
    with pytest.raises(UserError, match="room for one item"):
        next(bucket_steps([3], max_positions=10, max_items=0, seed=0, first=0, last=1))


def test_weights_say_how_often_an_item_comes() -> None:
    """Over epochs each comes at its rate to within one; of a weight of a half every epoch has about half."""
    weights = np.repeat([0.25, 0.5, 1.0, 2.5], 100)
    lengths, epochs = [10] * 400, 8
    per_epoch = sum(weights) / 16
    batches = [
        step[0] for step in steps_of(1, round(epochs * per_epoch), lengths=lengths, weights=weights, max_items=16)
    ]
    counts = np.bincount(np.concatenate(batches), minlength=400)
    assert np.abs(counts - epochs * weights).max() <= 2
    first = np.bincount(np.concatenate(batches[: round(per_epoch)]), minlength=400)
    assert 35 <= first[100:200].sum() <= 65 and (first[200:300] >= 1).mean() > 0.9
    assert steps_of(2, 40, lengths=lengths, weights=weights)[7:] == steps_of(
        2, 40, lengths=lengths, first=7, weights=weights
    )
    assert steps_of(1, 20, weights=[1.0] * 331) == steps_of(1, 20)
    with pytest.raises(UserError, match="weights above 0, found 0"):
        steps_of(1, 5, lengths=[5, 5], weights=[1.0, 0.0])
