"""Utterances packed into rows of equal length, without one seeing another.

A piece is an utterance, or a part of one that is longer than a row. It brings the token to predict at each place
(``IGNORED``: none), and which tokens may follow there (a row of ``vocabulary.allowed_tokens``). Pieces that stand in
one row have segments of their own: attention stays inside, and positions begin at 0 in each. So any sequence that a
decoder shall learn can be packed: a translation is a piece whose source is IGNORED.

Axes: n places of a piece, R rows, L places of a row (the context).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.errors import UserError
from unit_lm.vocabulary import PAD, Vocabulary, frame_tokens, language_row

IGNORED = -100  # of a target: cross-entropy's own


class Piece(NamedTuple):
    inputs: np.ndarray  # (n,) int64 token ids
    targets: np.ndarray  # (n,) int64: the next token, or IGNORED
    rows: np.ndarray  # (n,) int64: the language whose tokens may follow


class PackedBatch(NamedTuple):
    """R rows of L places; places after the last piece are padding."""

    tokens: torch.Tensor  # (R, L) int64
    targets: torch.Tensor  # (R, L) int64
    rows: torch.Tensor  # (R, L) int64
    positions: torch.Tensor  # (R, L) int64, from 0 in each piece
    segments: torch.Tensor  # (R, L) int64: number of the piece in its row, from 1; 0 is padding


def cut_pieces(
    vocabulary: Vocabulary, language: str, tokens: np.ndarray, context: int, *, overlap: int = 0
) -> list[Piece]:
    """Pieces of (T,) tokens of one utterance, each of at most ``context`` places; every token is a target once.

    A piece from the middle begins with the language's token too, which predicts nothing there, and sees ``overlap``
    tokens again that are no targets.
    """
    if not 0 <= overlap < context - 1:
        raise UserError(f"--context {context}: expected more than {overlap + 1}; give a larger one")
    framed, row = frame_tokens(vocabulary, language, tokens), language_row(vocabulary, language)
    first = framed[: context + 1]
    pieces, done = [_piece(first[:-1], first[1:], row)], len(first)
    while done < len(framed):
        start = done - 1 - overlap
        end = min(start + context, len(framed))
        targets = np.full(end - start, IGNORED, np.int64)
        targets[overlap + 1 :] = framed[start + overlap + 1 : end]
        inputs = np.concatenate([framed[:1], framed[start : end - 1]])
        pieces.append(_piece(inputs, targets, row))
        done = end
    return pieces


def _piece(inputs: np.ndarray, targets: np.ndarray, row: int) -> Piece:
    return Piece(inputs, targets, np.full(len(inputs), row, np.int64))


def count_targets(pieces: Sequence[Piece]) -> int:
    return sum(int((piece.targets != IGNORED).sum()) for piece in pieces)


def pack_pieces(lengths: Sequence[int], context: int) -> list[list[int]]:
    """Numbers of the pieces in each row: the longest first, each where least room is left over (best fit)."""
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(context + 1)]  # rows by what is free in them
    for number in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        length = lengths[number]
        if not 0 < length <= context:
            raise UserError(f"piece of {length} places: expected 1 to {context}")
        room = next((free for free in range(length, context + 1) if with_room[free]), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, context
        else:
            row = with_room[room].pop()
        rows[row].append(number)
        with_room[room - length].append(row)
    return rows


def stack_rows(pieces: Sequence[Piece], rows: Sequence[Sequence[int]], context: int) -> PackedBatch:
    """The pieces named in ``rows`` as one batch of so many rows."""
    shape = (len(rows), context)
    tokens, targets = np.full(shape, PAD, np.int64), np.full(shape, IGNORED, np.int64)
    languages, positions, segments = (np.zeros(shape, np.int64) for _ in range(3))
    for row, numbers in enumerate(rows):
        place = 0
        for segment, number in enumerate(numbers, 1):
            piece = pieces[number]
            here = slice(place, place + len(piece.inputs))
            tokens[row, here], targets[row, here], languages[row, here] = piece
            positions[row, here], segments[row, here] = np.arange(len(piece.inputs)), segment
            place = here.stop
    return PackedBatch(*map(torch.from_numpy, (tokens, targets, languages, positions, segments)))


def move(batch: PackedBatch, device: torch.device) -> PackedBatch:
    return PackedBatch(*(tensor.to(device) for tensor in batch))


def attention_inside(segments: torch.Tensor) -> torch.Tensor:
    """(R, L) segments -> (R, 1, L, L) bool: each place sees itself and what stands before it in its own piece."""
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()[:, None]


def rows_of_step(n_rows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Which of ``n_rows`` packed rows a step takes: a function of (seed, step) alone, each row once an epoch."""
    numbers = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _order(n_rows, seed, epoch) for epoch in {number // n_rows for number in numbers}}
    return [int(orders[number // n_rows][number % n_rows]) for number in numbers]


def _order(n_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n_rows)


def share_rows(rows: Sequence[int], rank: int, world: int) -> Sequence[int]:
    """One process's part of a step's rows."""
    if len(rows) % world:
        raise UserError(f"--batch_size {len(rows)}: expected a multiple of the {world} processes; change one of them")
    share = len(rows) // world
    return rows[rank * share : (rank + 1) * share]
