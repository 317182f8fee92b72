"""How far apart two items of ABX are: their frames along the best alignment (dynamic time warping), many pairs at once.

Axes: I items, F frames, D features, M pairs, n and m frames of the items of a pair.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

ALIGNED_AT_ONCE = 2048  # pairs

# (M, n, …) and (M, m, …) frames of items -> (M, n, m) distances of frames
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class AbxItems(NamedTuple):
    """Triphones of a corpus; all arrays (I,) int64."""

    utterance: np.ndarray  # its place in the list of utterances
    start: np.ndarray  # first frame, in the utterance
    stop: np.ndarray  # behind the last frame
    phone: np.ndarray
    context: np.ndarray  # number of the pair of neighbours
    speaker: np.ndarray


def angular_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Angle over pi of unit vectors: (M, n, D), (M, m, D) -> (M, n, m)."""
    return torch.bmm(first, second.transpose(1, 2)).clamp(-1, 1).acos() / torch.pi


def unequal_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """0 for equal units, else 1: (M, n), (M, m) -> (M, n, m)."""
    return (first[:, :, None] != second[:, None, :]).float()


def item_distances(
    items: AbxItems, frames: Sequence[np.ndarray], distance: Distance
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """measure(first, second): distances of items along their best alignment, for frames of each utterance.

    frames: (F,) units or (F, D) features an utterance. Pairs whose first items are of one length are aligned together,
    from short second items to long ones.
    """
    table = torch.from_numpy(np.concatenate(frames))
    offsets = np.cumsum([0, *map(len, frames)])[:-1]
    starts, lengths = items.start + offsets[items.utterance], items.stop - items.start

    def measure(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found = np.empty(len(first), np.float32)
        order = np.lexsort((lengths[second], lengths[first]))
        for group in np.split(order, np.flatnonzero(np.diff(lengths[first[order]])) + 1):
            for places in np.array_split(group, -(-len(group) // ALIGNED_AT_ONCE)):
                n, widths = lengths[first[places[0]]], lengths[second[places]]
                rows = starts[first[places], None] + np.arange(n)
                # Behind a shorter item follow other frames, which no path to its end can reach.
                columns = np.minimum(starts[second[places], None] + np.arange(widths.max()), len(table) - 1)
                lattice = distance(table[torch.from_numpy(rows)], table[torch.from_numpy(columns)])
                found[places] = align(lattice, torch.from_numpy(widths)).numpy()
        return found

    return measure


def align(lattice: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """(M, n, m) distances of frames, of which the first (M,) ``widths`` columns count -> (M,) distances of items.

    The cost of the cheapest path, divided by its length. A path goes on in one item, the other, or both. Where several
    are the cheapest, the length is that of the one found from the end by going back in both, else in the second, else
    in the first: torchdtw's choice.
    """
    steps = lattice.permute(1, 2, 0).contiguous()
    above: list[tuple[torch.Tensor, torch.Tensor]] = []
    for row in steps:
        current: list[tuple[torch.Tensor, torch.Tensor]] = []
        for column, here in enumerate(row):
            if above and column:
                cost, length = _cheapest(above[column - 1], current[-1], above[column])
            elif above or column:
                cost, length = current[-1] if column else above[0]
            else:
                cost, length = torch.zeros_like(here), torch.zeros_like(here)
            current.append((cost + here, length + 1))
        above = current
    costs, path_lengths = (torch.stack(side).gather(0, widths[None] - 1)[0] for side in zip(*above))
    return costs / path_lengths


def _cheapest(
    diagonal: tuple[torch.Tensor, torch.Tensor],
    left: tuple[torch.Tensor, torch.Tensor],
    up: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cost, length) of the cheapest of three ways to get here."""
    beside = left[0] <= up[0]
    cost, length = torch.where(beside, left[0], up[0]), torch.where(beside, left[1], up[1])
    both = diagonal[0] <= cost
    return torch.where(both, diagonal[0], cost), torch.where(both, diagonal[1], length)


def as_unit_vectors(features: np.ndarray) -> np.ndarray:
    """(F, D) -> (F, D) float32 of length 1; vectors of zeros stay."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(norms, 1e-12)).astype(np.float32)
