"""What a decoder starts from: centroids, a text model's layers, another vocabulary; dropout; drawing."""

from pathlib import Path

import numpy as np
import torch

import pytest

from core.errors import UserError
from lm_examples import CONTEXT, N_UNITS, VOCABULARY, draw_sequences, tiny_decoder
from tiny_llm import save_tiny_llm
from unit_lm.batches import attention_inside
from unit_lm.decoder import (
    Shape,
    add_dropout,
    build_decoder,
    carry_tokens,
    describe_config,
    new_config,
    predict,
    read_config,
    seed_embeddings,
)
from unit_lm.generation import Sampling, continue_tokens, find_loops
from unit_lm.vocabulary import END, block_range, count_tokens, frame_tokens
from unit_lm.warm_start import start_model

PROMPT = frame_tokens(VOCABULARY, "aa", draw_sequences(1)[0], ended=False)


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_a_decoder_comes_back_from_its_description_and_drops_in_training_only(architecture: str) -> None:
    model = tiny_decoder(architecture)
    again = build_decoder(read_config(describe_config(model.config))).eval()
    again.load_state_dict(model.state_dict())
    ids = torch.from_numpy(PROMPT[None])
    expected = model(input_ids=ids).logits
    assert torch.equal(again(input_ids=ids).logits, expected)
    add_dropout(again, 0.5)
    assert list(again.state_dict()) == list(model.state_dict())
    assert torch.equal(again(input_ids=ids).logits, expected)
    assert not torch.equal(again.train()(input_ids=ids).logits, expected)


def test_units_that_sound_alike_begin_alike() -> None:
    model = tiny_decoder()
    spread = model.get_input_embeddings().weight.std().item()
    centroids = np.random.default_rng(0).standard_normal((N_UNITS, 5)).astype(np.float32)
    centroids[1] = centroids[0] + 0.01
    seed_embeddings(model, VOCABULARY, [centroids])
    table = model.get_input_embeddings().weight[list(block_range(VOCABULARY, 0))]
    distances = torch.cdist(table, table)
    assert distances[0, 1] < 0.1 * distances[0, 2:].min()
    assert table.std().item() == pytest.approx(spread, rel=0.5)


def test_a_text_model_keeps_its_first_layers_and_gets_new_embeddings(tmp_path: Path) -> None:
    save_tiny_llm(tmp_path / "llm")
    model, known = start_model(tmp_path / "llm", VOCABULARY, layers=1, context=CONTEXT)
    whole, _ = start_model(tmp_path / "llm", VOCABULARY, layers=None, context=CONTEXT)
    assert known == set() and len(model.get_decoder().layers) == 1 and len(whole.get_decoder().layers) == 2
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(model.state_dict()[name], whole.state_dict()[name])
    assert model.get_input_embeddings().num_embeddings == count_tokens(VOCABULARY) == model.config.vocab_size
    rebuilt = build_decoder(read_config(describe_config(model.config)))
    rebuilt.load_state_dict(model.state_dict())
    for flags, message in (
        ({"layers": 3, "context": CONTEXT}, "--layers 3: expected at most 2"),
        ({"layers": None, "context": 1000}, "--context 1000: expected at most 512"),
    ):
        with pytest.raises(UserError, match=message):
            start_model(tmp_path / "llm", VOCABULARY, **flags)
    with pytest.raises(UserError, match="found no config.json"):
        start_model(tmp_path / "none", VOCABULARY, layers=None, context=CONTEXT)


def test_known_tokens_keep_their_embeddings() -> None:
    old, new = tiny_decoder(seed=0), tiny_decoder(seed=1)
    carry_tokens(new, old, np.array([4, 5]), np.array([7, 4]))
    tables = [model.get_input_embeddings().weight for model in (old, new)]
    assert torch.equal(tables[1][[7, 4]], tables[0][[4, 5]]) and not torch.equal(tables[1][5], tables[0][5])


def test_heads_must_part_the_width() -> None:
    with pytest.raises(UserError, match="--width 10"):
        new_config(Shape(width=10, heads=4), 20, CONTEXT)


def test_what_is_drawn_follows_from_the_seed_and_the_number_of_the_sample() -> None:
    model, asked = tiny_decoder(), {"context": CONTEXT, "longest": 12, "least": 6}
    drawn = [
        continue_tokens(model, VOCABULARY, "aa", PROMPT, Sampling(1.0, 0.9, seed), sample=sample, **asked).tolist()
        for seed, sample in ((0, 0), (0, 1), (0, 0), (1, 0))
    ]
    assert drawn[0] == drawn[2] and len({tuple(row) for row in drawn}) == 3
    assert all(6 <= len(row) <= 12 and set(row) <= set(block_range(VOCABULARY, 0)) for row in drawn)
    sure = Sampling(0.0, 1.0, 0)
    first = continue_tokens(model, VOCABULARY, "aa", PROMPT, sure, sample=0, **asked)
    assert first.tolist() == continue_tokens(model, VOCABULARY, "aa", PROMPT, sure, sample=5, **asked).tolist()
    with pytest.raises(UserError, match="fewer than 24"):
        continue_tokens(model, VOCABULARY, "aa", PROMPT, sure, sample=0, context=CONTEXT, longest=CONTEXT)


def test_greedy_drawing_is_what_the_logits_say_of_a_prompt_too_long() -> None:
    model, longest = tiny_decoder(), 4
    prompt = frame_tokens(VOCABULARY, "aa", np.concatenate(draw_sequences(6)), ended=False)
    found = continue_tokens(
        model, VOCABULARY, "aa", prompt, Sampling(0.0), sample=0, context=CONTEXT, longest=longest, least=longest
    )
    ids = torch.from_numpy(np.concatenate([prompt[:1], prompt[1 - CONTEXT + longest :]]))[None]
    logits = predict(model, ids, torch.arange(ids.shape[1])[None], attention_inside(torch.ones_like(ids)))[0, -1]
    symbols = list(block_range(VOCABULARY, 0))
    assert found[0] == symbols[int(logits[symbols].argmax())] and END not in found


def test_loops_are_found_where_they_are() -> None:
    rng = np.random.default_rng(0)
    free = rng.permutation(100)
    assert find_loops(free) == []
    loop = np.concatenate([free[:10], np.tile([201, 202, 203], 4), [201], free[10:20]])
    assert find_loops(loop) == [(10, 23, 3)]
    twice = np.concatenate([np.tile([1, 2], 3), [9, 8], np.tile([5], 4)])
    assert find_loops(twice) == [(0, 6, 2), (8, 12, 1)]
    assert find_loops(np.tile([1, 2, 3], 2)) == [] and find_loops(np.zeros(0, int)) == []
