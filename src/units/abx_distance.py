"""How far apart two items of ABX are: their frames along the best alignment (dynamic time warping), many pairs at once.

Axes: I items, F frames, D features, M pairs, n and m frames of the items of a pair.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

LATTICE_CELLS = 1 << 22  # of distances of frames held at once

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

    frames: (F,) units or (F, D) features an utterance. Pairs of equal lengths are aligned together.
    """
    table = torch.from_numpy(np.concatenate(frames))
    offsets = np.cumsum([0, *map(len, frames)])[:-1]
    starts, lengths = items.start + offsets[items.utterance], items.stop - items.start

    def measure(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found = np.empty(len(first), np.float32)
        shapes = lengths[first] * (lengths.max() + 1) + lengths[second]
        order = np.argsort(shapes, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(shapes[order])) + 1):
            n, m = lengths[first[group[0]]], lengths[second[group[0]]]
            for places in np.array_split(group, -(-len(group) * n * m // LATTICE_CELLS)):
                rows = torch.from_numpy(starts[first[places], None] + np.arange(n))
                columns = torch.from_numpy(starts[second[places], None] + np.arange(m))
                found[places] = align(distance(table[rows], table[columns])).numpy()
        return found

    return measure


def align(lattice: torch.Tensor) -> torch.Tensor:
    """(M, n, m) distances of frames -> (M,): cost of the cheapest path, divided by its length.

    A path goes on in one sequence, the other, or both. Where several are the cheapest, the length is that of the one
    found from the end by going back in both, else in the second, else in the first: torchdtw's choice.
    """
    steps = lattice.permute(1, 2, 0).contiguous()
    n_rows, n_columns, _ = steps.shape
    above: list[tuple[torch.Tensor, torch.Tensor]] = []
    for row in range(n_rows):
        current: list[tuple[torch.Tensor, torch.Tensor]] = []
        for column in range(n_columns):
            here = steps[row, column]
            if row == 0 or column == 0:
                before = (
                    current[-1] if column else above[0] if row else (torch.zeros_like(here), torch.zeros_like(here))
                )
                cost, length = before
            else:
                cost, length = _cheapest(above[column - 1], current[-1], above[column])
            current.append((cost + here, length + 1))
        above = current
    return above[-1][0] / above[-1][1]


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
