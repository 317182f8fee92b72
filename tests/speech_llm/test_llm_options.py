"""Fewer bits, another attention and layers computed twice: obeyed, or refused in one line."""

import contextlib
import importlib.util
from pathlib import Path

import torch

import pytest

from core.errors import UserError
from models.speech_llm_model import SpeechBatch, SpeechLLMBase
from speech_llm.llm_options import loading_options
from speech_llm.memory_budget import bytes_a_position
from speech_llm.saved_model import build_speech_llm, load_llm
from tiny_llm import DIM, config, save_tiny_llm

LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": ["all-linear"]}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("llm"))


def build(llm: Path, **options) -> SpeechLLMBase:
    torch.manual_seed(0)
    return build_speech_llm(config(llm_id=str(llm), lora=LORA, **options), torch.float32).train()


def batch(model: SpeechLLMBase) -> SpeechBatch:
    features = torch.randn(2, 20, DIM, generator=torch.Generator().manual_seed(1))
    return SpeechBatch(features, torch.tensor([20, 14]), [model.answer_ids("abc"), model.answer_ids("ha")], [])


def gradients(model: SpeechLLMBase) -> dict[str, torch.Tensor]:
    model(batch(model)).ce.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def count_calls(model: SpeechLLMBase) -> list[int]:
    calls = []
    model.llm.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_layers_computed_twice_give_the_same_gradients(llm: Path) -> None:
    plain, checkpointed = build(llm), build(llm).checkpoint_layers()
    once, twice = count_calls(plain), count_calls(checkpointed)
    expected, found = gradients(plain), gradients(checkpointed)
    assert (len(once), len(twice)) == (1, 2)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in found)
    checkpointed.eval()
    checkpointed(batch(checkpointed))
    assert len(twice) == 3 and not checkpointed.llm.model.layers[0].training
    kept = [bytes_a_position(model.train(), contextlib.nullcontext) for model in (plain, checkpointed)]
    assert kept[1] < kept[0] and checkpointed.llm.model.layers[0].training


def test_an_llm_that_cannot_compute_twice_is_refused(llm: Path) -> None:
    model = build(llm)
    model.llm.supports_gradient_checkpointing = False
    with pytest.raises(UserError, match="--gradient_checkpointing: LlamaForCausalLM cannot do it"):
        model.checkpoint_layers()


def test_the_attention_is_the_one_asked_for(llm: Path) -> None:
    found = load_llm(str(llm), None, torch.float32, attention="eager")[0]
    assert found.config._attn_implementation == "eager"
    assert load_llm(str(llm), None, torch.float32)[0].config._attn_implementation == "sdpa"
    with pytest.raises(UserError, match=r"--attention flash_attention_2: expected .* found .*cpu, float32; give"):
        load_llm(str(llm), None, torch.float32, attention="flash_attention_2")


@pytest.mark.parametrize("bits", [4, 8])
def test_fewer_bits_train_the_same_parts(llm: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    model = build(llm, llm_bits=bits)
    weight = model.llm.model.layers[0].mlp.up_proj.base_layer.weight
    assert weight.element_size() == 1 and weight.numel() == 64 * 128 * bits // 8
    found = gradients(model)
    assert {name.partition(".")[0] for name in found} == {"connector", "llm"}
    assert all("lora_" in name for name in found if name.startswith("llm."))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in found.values())
    assert sum(value.abs().sum() for value in found.values()) > 0


def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--llm_bits 4: expected the package bitsandbytes, found none"):
        loading_options(bits=4, dtype=torch.float32, device="cpu")
    with pytest.raises(UserError, match="--llm_bits 3: expected 4 or 8"):
        loading_options(bits=3, dtype=torch.float32, device="cpu")
    assert loading_options(dtype=torch.float32, device="cpu") == {}
