"""Packing: nothing is lost, nothing is seen across pieces, and a step's rows follow from the seed and its number."""

import numpy as np
import torch

import pytest

from core.errors import UserError
from lm_examples import CONTEXT, VOCABULARY, draw_sequences, tiny_decoder
from unit_lm.batches import (
    IGNORED,
    attention_inside,
    count_targets,
    cut_pieces,
    pack_pieces,
    rows_of_step,
    share_rows,
    stack_rows,
)
from unit_lm.decoder import ARCHITECTURES, predict
from unit_lm.scoring import utterance_nats
from unit_lm.vocabulary import END, allowed_tokens, language_token


@pytest.mark.parametrize("overlap", [0, 7])
def test_every_token_of_a_long_utterance_is_a_target_once(overlap: int) -> None:
    tokens = np.arange(100) % 9 + 4
    pieces = cut_pieces(VOCABULARY, "bb", tokens, CONTEXT, overlap=overlap)
    assert len(pieces) > 3 and all(len(piece.inputs) <= CONTEXT for piece in pieces)
    assert np.concatenate([p.targets[p.targets != IGNORED] for p in pieces]).tolist() == [*tokens, END]
    assert all(piece.inputs[0] == language_token(VOCABULARY, "bb") for piece in pieces)
    for piece in pieces[1:]:
        assert (piece.targets != IGNORED).argmax() == overlap + 1
        # Behind the first place, inputs are the tokens before the targets.
        known = piece.targets[1:-1] != IGNORED
        assert (piece.inputs[2:][known] == piece.targets[1:-1][known]).all()


def test_pieces_are_packed_tightly_and_stacked_as_they_are() -> None:
    lengths = np.random.default_rng(0).integers(1, CONTEXT + 1, 200)
    rows = pack_pieces(lengths, CONTEXT)
    assert sorted(number for row in rows for number in row) == list(range(200))
    assert all(sum(lengths[row]) <= CONTEXT for row in map(list, rows))
    assert len(rows) <= 1.05 * lengths.sum() / CONTEXT + 1
    pieces = [piece for tokens in draw_sequences(6) for piece in cut_pieces(VOCABULARY, "aa", tokens, CONTEXT)]
    rows = pack_pieces([len(piece.inputs) for piece in pieces], CONTEXT)
    batch = stack_rows(pieces, rows, CONTEXT)
    assert int((batch.targets != IGNORED).sum()) == count_targets(pieces)
    for row, numbers in enumerate(rows):
        for segment, number in enumerate(numbers, 1):
            here = batch.segments[row] == segment
            assert batch.tokens[row][here].tolist() == pieces[number].inputs.tolist()
            assert batch.positions[row][here].tolist() == list(range(len(pieces[number].inputs)))
    with pytest.raises(UserError, match="expected 1 to"):
        pack_pieces([CONTEXT + 1], CONTEXT)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_packed_utterance_is_read_as_it_is_alone(architecture: str) -> None:
    model, sequences = tiny_decoder(architecture), draw_sequences(5)
    pieces = [piece for tokens in sequences for piece in cut_pieces(VOCABULARY, "aa", tokens, CONTEXT)]
    rows = pack_pieces([len(piece.inputs) for piece in pieces], CONTEXT)
    assert max(map(len, rows)) > 1
    batch = stack_rows(pieces, rows, CONTEXT)
    with torch.inference_mode():
        packed = predict(model, batch.tokens, batch.positions, attention_inside(batch.segments))
        for row, numbers in enumerate(rows):
            for segment, number in enumerate(numbers, 1):
                alone = model(input_ids=torch.from_numpy(pieces[number].inputs[None])).logits[0]
                torch.testing.assert_close(packed[row][batch.segments[row] == segment], alone, rtol=1e-4, atol=1e-4)


def test_probabilities_of_what_may_follow_sum_to_one_and_long_utterances_are_read_whole() -> None:
    model, allowed = tiny_decoder("llama"), torch.from_numpy(allowed_tokens(VOCABULARY))
    short = draw_sequences(1)[0][:6]
    nats = [
        next(utterance_nats(model, VOCABULARY, [("aa", np.append(short, token))], allowed, CONTEXT))[len(short)]
        for token in [*range(4, 13)]
    ]
    end = next(utterance_nats(model, VOCABULARY, [("aa", short)], allowed, CONTEXT))[-1]
    assert np.exp(-np.array([*nats, end])).sum() == pytest.approx(1, abs=1e-5)
    long = np.concatenate(draw_sequences(9))
    found = list(utterance_nats(model, VOCABULARY, [("aa", long), ("bb", short)], allowed, CONTEXT))
    assert [len(row) for row in found] == [len(long) + 1, len(short) + 1]
    alone = next(utterance_nats(model, VOCABULARY, [("bb", short)], allowed, CONTEXT))
    np.testing.assert_allclose(found[1], alone, rtol=1e-5)


def test_each_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    steps = [rows_of_step(10, 4, 7, step) for step in range(5)]
    drawn = [number for step in steps for number in step]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10)) and drawn[:10] != drawn[10:]
    assert rows_of_step(10, 4, 7, 3) == steps[3] and rows_of_step(10, 4, 8, 0) != steps[0]
    assert [*share_rows(steps[0], 0, 2), *share_rows(steps[0], 1, 2)] == steps[0]
    with pytest.raises(UserError, match="multiple of the 3 processes"):
        share_rows(steps[0], 0, 3)
