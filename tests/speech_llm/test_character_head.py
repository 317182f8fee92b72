"""The CTC head by itself hears what the whole model's head hears, and no LLM is read for it."""

from pathlib import Path

import torch

import pytest

from core.errors import UserError
from models.speech_llm_model import SpeechLLMBase
from speech_llm import character_head
from speech_llm.character_head import load_character_head
from speech_llm.saved_model import save_pretrained
from tiny_llm import DIM, config, hearing, tiny_llm, tiny_tokenizer

NOWHERE = {"llm_id": "no/such-model", "front_end": "features", "speech_enc_id": "mfcc", "speech_enc_layer": None}


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_head, "open_saved_encoder", lambda *_: "an encoder")


def save_model(folder: Path, settings: dict) -> SpeechLLMBase:
    torch.manual_seed(0)
    model = SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), settings).eval()
    save_pretrained(folder / "best", model)
    return model


def test_it_hears_the_same_without_an_llm(tmp_path: Path) -> None:
    whole = save_model(tmp_path, hearing(lora={"r": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj"]}, **NOWHERE))
    head = load_character_head(tmp_path, precision="fp32")
    assert (head.encoder, head.half, head.model.characters) == ("an encoder", False, whole.characters)
    features, lengths = torch.randn(2, 9, DIM), torch.tensor([9, 6])
    with torch.inference_mode():
        assert torch.equal(head.model(features, lengths), whole.encode_speech(features, lengths).log_probs)
    assert not head.model.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (config(**NOWHERE), "has no CTC head"),
        (hearing(**(NOWHERE | {"front_end": "units", "n_units": 4})), "reads units, not audio"),
    ],
)
def test_a_model_that_cannot_align_is_one_line(tmp_path: Path, settings: dict, message: str) -> None:
    save_model(tmp_path, settings)
    with pytest.raises(UserError, match=message):
        load_character_head(tmp_path)


def test_weights_of_another_configuration_are_one_line(tmp_path: Path) -> None:
    model = save_model(tmp_path, hearing(**NOWHERE))
    model.config = model.config | {"characters": " abc"}
    save_pretrained(tmp_path / "other" / "best", model)
    with pytest.raises(UserError, match="expected the weights of its config.json, found others: size mismatch"):
        load_character_head(tmp_path / "other")
