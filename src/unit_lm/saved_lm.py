"""A trained language model of units, as it is loaded."""

from pathlib import Path
from typing import NamedTuple

import torch

from transformers import PreTrainedModel

from core.errors import UserError
from core.files import read_json
from languages import command_for_folder
from training.checkpoints import load_checkpoint
from unit_lm.decoder import build_decoder, read_config
from unit_lm.vocabulary import Vocabulary, allowed_tokens, read_vocabulary

WEIGHTS = {"averaged": "model_ema", "last": "model"}
BLOCKS = "blocks"  # in the experiment folder: <number>/units, what the units of a block mean


class UnitLM(NamedTuple):
    model: PreTrainedModel  # in eval mode
    vocabulary: Vocabulary
    allowed: torch.Tensor  # (languages, V) bool, on the model's device: what may follow in each language
    context: int  # places of a row
    step: int
    config: dict  # config.json of the experiment


def load_unit_lm(
    exp: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu", *, weights: str = "averaged"
) -> UnitLM:
    """The model of a trained experiment.

    checkpoint: "best" (by validation), "latest", or a path. weights: "averaged" or "last". Raises UserError where it
    is missing or another model's.
    """
    exp = Path(exp)
    path = exp / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "latest") else Path(checkpoint)
    state = load_checkpoint(path, command=command_for_folder("src/trainer_unit_lm.py", exp))
    if "vocabulary" not in state:
        raise UserError(f"{path}: expected a checkpoint of a language model of units, found {sorted(state)[:5]}")
    model = build_decoder(read_config(state["sizes"]))
    model.load_state_dict(state[WEIGHTS[weights]])
    vocabulary = read_vocabulary(state["vocabulary"])
    allowed = torch.from_numpy(allowed_tokens(vocabulary)).to(device)
    config = read_json(exp / "config.json")
    return UnitLM(model.eval().to(device), vocabulary, allowed, state["context"], state["step"], config)


def block_units(exp: Path, block: int) -> Path:
    """The folder that says what the units of a block mean, as phase 1 leaves it."""
    return Path(exp) / BLOCKS / str(block) / "units"
