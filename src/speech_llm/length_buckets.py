"""Batches of items of like length under a budget of positions, as a pure function of (seed, step)."""

from collections.abc import Iterator, Sequence

import numpy as np

from core.errors import UserError

LENGTH_JITTER = 0.1  # a length counts as up to so much more or less in an epoch, so that batches mix differently


def bucket_steps(
    lengths: Sequence[int],
    *,
    max_positions: int,
    max_items: int | None = None,
    seed: int,
    first: int,
    last: int,
    rank: int = 0,
    world: int = 1,
    weights: Sequence[float] | None = None,
) -> Iterator[list[int]]:
    """The indices of rank ``rank``'s batch for each of the steps ``first`` to ``last`` (exclusive).

    A batch's longest item times its number of items stays within ``max_positions`` (an item that is longer forms a
    batch of its own), and holds ``max_items`` at most. Every epoch visits each item once over all ranks, in a new order
    and new company; the batches of a step are neighbours in length, so that no rank waits for another. Where an epoch
    does not fill its last step, the next one does: nothing is dropped or shown twice. A run that begins at ``first``
    continues one that ended there.

    weights: how often each item comes in an epoch, in the mean (None: once). Of .5 every second epoch has it, and half
    of such items come in each; 2 shows it twice.
    """
    if not len(lengths):
        raise UserError("expected items to train on, found none")
    if max_positions < 1 or (max_items is not None and max_items < 1):
        raise UserError(f"expected room for one item and more, found {max_positions} positions and {max_items} items")
    if weights is not None and not np.min(weights) > 0:
        raise UserError(f"expected weights above 0, found {np.min(weights):g}")
    sizes, step, epoch = np.asarray(lengths, np.int64), 0, 0
    open_step: list[list[int]] = []
    while step < last:
        drawn = _draw(len(sizes), weights, seed, epoch)
        random = np.random.default_rng((seed, epoch))
        order = drawn[_jittered_order(sizes[drawn], random)]
        batches = _fill_batches(sizes, order, max_positions, max_items)
        steps, open_step = _plan_epoch(sizes, batches, random, open_step, world)
        for batches in steps[max(first - step, 0) : last - step]:
            yield batches[rank]
        step, epoch = step + len(steps), epoch + 1


def _draw(n_items: int, weights: Sequence[float] | None, seed: int, epoch: int) -> np.ndarray:
    """The items of an epoch, as often as each comes in it: over many epochs its weight, to within one."""
    if weights is None:
        return np.arange(n_items)
    start = np.random.default_rng(seed).random(n_items)
    rates = np.asarray(weights, np.float64)
    times = np.floor(start + rates * (epoch + 1)) - np.floor(start + rates * epoch)
    return np.repeat(np.arange(n_items), times.astype(np.int64))


def _plan_epoch(
    sizes: np.ndarray,
    batches: list[list[int]],
    random: np.random.Generator,
    open_step: list[list[int]],
    world: int,
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """(steps of ``world`` batches, the batches left over) of an epoch that first completes ``open_step``."""
    steps = []
    if open_step:
        longest = int(sizes[open_step[-1]].max())
        while batches and len(open_step) < world:
            nearest = min(range(len(batches)), key=lambda index: abs(int(sizes[batches[index]].max()) - longest))
            open_step = [*open_step, batches.pop(nearest)]
        if len(open_step) < world:
            return [], open_step
        steps.append(open_step)
    n_left = len(batches) % world
    at = int(random.integers(0, len(batches) - n_left + 1))
    left, batches = batches[at : at + n_left], batches[:at] + batches[at + n_left :]
    grouped = [batches[start : start + world] for start in range(0, len(batches), world)]
    return steps + [grouped[index] for index in random.permutation(len(grouped))], left


def _jittered_order(sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Indices from about the shortest to about the longest; ties and near ties in random order."""
    return np.argsort(
        (sizes + random.random(len(sizes))) * random.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(sizes))
    )


def _fill_batches(sizes: np.ndarray, order: np.ndarray, max_positions: int, max_items: int | None) -> list[list[int]]:
    """Cut the order into batches, each filled until the next item would exceed a bound."""
    batches: list[list[int]] = []
    longest = 0
    for index in order.tolist():
        size = int(sizes[index])
        fits = batches and len(batches[-1]) < (max_items or len(sizes))
        if fits and max(longest, size) * (len(batches[-1]) + 1) <= max_positions:
            batches[-1].append(index)
            longest = max(longest, size)
        else:
            batches.append([index])
            longest = size
    return batches
