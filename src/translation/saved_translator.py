"""A trained translator, as it is made and loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from core.errors import UserError
from core.files import read_json
from models.translator import LETTERS_A_STATE, Translator
from training.checkpoints import load_checkpoint
from translation.hearing import Hearing, read_hearing
from unit_lm.decoder import add_dropout, build_decoder, describe_config, read_config
from unit_lm.vocabulary import Vocabulary, allowed_tokens, read_vocabulary

WEIGHTS = {"averaged": "model_ema", "last": "model"}


class LoadedTranslator(NamedTuple):
    model: Translator  # in eval mode
    hearing: Hearing
    vocabulary: Vocabulary  # of the target
    allowed: torch.Tensor  # (V,) bool, on the model's device: what may be said
    context: int  # places of a row of the decoder: source and target
    step: int
    config: dict  # config.json of the experiment


def describe_sizes(model: Translator) -> dict[str, object]:
    """The plain values that a translator is built from."""
    return {
        "encoder": describe_config(model.encoder.config),
        "decoder": describe_config(model.decoder.config),
        "n_features": model.front.in_features if model.front is not None else 0,
        "n_letters": model.letters.out_features // LETTERS_A_STATE if model.letters is not None else 0,
        "speaks": model.speaks,
    }


def build_translator(sizes: Mapping[str, object], *, dropout: float = 0.0, source_dropout: float = 0.0) -> Translator:
    """A translator of these sizes with random weights."""
    encoder, decoder = (build_decoder(read_config(sizes[name])) for name in ("encoder", "decoder"))
    return join_parts(
        encoder,
        decoder,
        n_features=sizes["n_features"],
        n_letters=sizes["n_letters"],
        dropout=dropout,
        source_dropout=source_dropout,
    )


def join_parts(encoder, decoder, *, n_features, n_letters, dropout, source_dropout) -> Translator:
    """A translator out of two language models of ``transformers``, with dropout in both."""
    add_dropout(encoder, dropout)
    add_dropout(decoder, dropout)
    return Translator(encoder, decoder, n_features=n_features, n_letters=n_letters, source_dropout=source_dropout)


def silence(model: Translator) -> Translator:
    """Leave the decoder as it is and out of every step: retrieval by meaning needs none."""
    model.decoder.requires_grad_(False)
    model.bridge.requires_grad_(False)
    model.speaks = False
    return model


def load_translator(
    exp: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu", *, weights: str = "averaged"
) -> LoadedTranslator:
    """The model of a trained experiment.

    checkpoint: "best" (by validation), "latest", or a path. weights: "averaged" or "last". Raises UserError where it
    is missing or another model's.
    """
    exp = Path(exp)
    path = exp / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "latest") else Path(checkpoint)
    state = load_checkpoint(path, command="python src/trainer_translation.py")
    if "hearing" not in state:
        raise UserError(f"{path}: expected a checkpoint of a translator, found {sorted(state)[:5]}; give its folder")
    model = build_translator(state["sizes"])
    model.speaks = state["sizes"]["speaks"]
    model.load_state_dict(state[WEIGHTS[weights]])
    vocabulary = read_vocabulary(state["vocabulary"])
    allowed = torch.from_numpy(allowed_tokens(vocabulary)[0]).to(device)
    return LoadedTranslator(
        model.eval().to(device),
        read_hearing(state["hearing"]),
        vocabulary,
        allowed,
        state["context"],
        state["step"],
        read_json(exp / "config.json"),
    )
