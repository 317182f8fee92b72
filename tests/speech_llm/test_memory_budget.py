"""What a batch may hold follows from what the model keeps for the way back."""

import contextlib

import torch

import pytest

from models.speech_llm_model import SpeechBatch, SpeechLLMBase
from speech_llm import memory_budget
from speech_llm.memory_budget import bytes_a_position, kept_bytes, positions_that_fit
from tiny_llm import DIM, config, hearing, tiny_llm, tiny_tokenizer


def build(family: str = "llama", **options) -> SpeechLLMBase:
    return SpeechLLMBase(tiny_llm(family), tiny_tokenizer(), config(**options)).train()


def batch(model: SpeechLLMBase, n: int, answer: str) -> SpeechBatch:
    answers = [model.answer_ids(answer)] * n
    return SpeechBatch(torch.randn(n, 60, DIM), torch.full((n,), 60), answers, [torch.ones(3, dtype=torch.long)] * n)


@pytest.mark.parametrize("options", [{}, {"lora": {"r": 2, "alpha": 4, "dropout": 0.1, "targets": ["all-linear"]}}])
def test_a_training_step_keeps_about_what_was_foreseen(options: dict) -> None:
    model = build(**options)
    spoken = batch(model, 4, "abcd" * 5)
    n_positions = 4 * (sum(map(len, model.pieces)) + 30 + 21)
    found = kept_bytes(model, lambda: model(spoken).ce)
    foreseen = n_positions * bytes_a_position(model, contextlib.nullcontext)
    assert found < memory_budget.BACKWARD * foreseen < 4 * found


def test_more_layers_and_adapters_take_more() -> None:
    plain = bytes_a_position(build(), contextlib.nullcontext)
    lora = {"r": 2, "alpha": 4, "dropout": 0.1, "targets": ["all-linear"]}
    assert bytes_a_position(build(lora=lora), contextlib.nullcontext) > plain > 0
    assert bytes_a_position(SpeechLLMBase(tiny_llm("qwen3"), tiny_tokenizer(), hearing()), contextlib.nullcontext) > 0


def test_a_smaller_device_holds_less_and_always_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    numbers = []
    for memory in (2**36, 2**35, 1):
        monkeypatch.setattr(memory_budget, "device_memory", lambda device, memory=memory: memory)
        numbers.append(positions_that_fit(model, contextlib.nullcontext))
    assert numbers[0] == pytest.approx(2 * numbers[1], rel=0.01) and numbers[2] == 1


def test_measuring_draws_no_number() -> None:
    model = build(lora={"r": 2, "alpha": 4, "dropout": 0.1, "targets": ["all-linear"]})
    before = torch.get_rng_state()
    bytes_a_position(model, contextlib.nullcontext)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.grad is None for value in model.parameters())
