"""How many bits a model needs for each utterance.

Axes: U utterances, T tokens.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from unit_lm.batches import Piece, cut_pieces, move, pack_pieces, stack_rows
from unit_lm.losses import token_nats
from unit_lm.vocabulary import Vocabulary

ROWS_AT_ONCE = 8
OVERLAP_SHARE = 0.5  # of a row: what a piece from the middle of a long utterance sees again


def score_pieces(
    model: nn.Module, pieces: Sequence[Piece], allowed: torch.Tensor, context: int, *, bf16: bool = False
) -> list[np.ndarray]:
    """(n,) float64 nats of the targets of each piece; 0 where it has none. ``model`` must be in eval mode."""
    rows = pack_pieces([len(piece.inputs) for piece in pieces], context)
    found: list[np.ndarray] = [np.zeros(0)] * len(pieces)
    device = allowed.device
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        batch = move(stack_rows(pieces, some, context), device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            nats = token_nats(model, batch, allowed).double().cpu().numpy()
        for row, numbers in enumerate(some):
            edges = np.cumsum([0, *(len(pieces[number].inputs) for number in numbers)])
            for number, start, end in zip(numbers, edges, edges[1:]):
                found[number] = nats[row, start:end]
    return found


def utterance_nats(
    model: nn.Module,
    vocabulary: Vocabulary,
    utterances: Sequence[tuple[str, np.ndarray]],
    allowed: torch.Tensor,
    context: int,
    *,
    bf16: bool = False,
) -> Iterator[np.ndarray]:
    """(T + 1,) float64 nats of each token of (language, tokens (T,)) and of <end> behind them.

    Utterances longer than ``context`` are read in parts that overlap by half.
    """
    cut = [
        cut_pieces(vocabulary, language, tokens, context, overlap=int(OVERLAP_SHARE * (context - 2)))
        for language, tokens in utterances
    ]
    pieces = [piece for parts in cut for piece in parts]
    scored = iter(zip(pieces, score_pieces(model, pieces, allowed, context, bf16=bf16)))
    for parts in cut:
        yield np.concatenate([nats[piece.targets >= 0] for piece, nats in (next(scored) for _ in parts)])


def as_bits(nats: np.ndarray | float) -> np.ndarray | float:
    return nats / math.log(2)
