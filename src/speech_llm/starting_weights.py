"""Training from another speech LLM's weights: what means the same is taken over, letter by letter."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from core.records import SpeechLLMConfig
from core.wording import name_some
from models.ctc import BLANK
from models.speech_llm_model import SpeechLLMBase
from speech_llm.saved_model import read_saved, read_weights

log = logging.getLogger("oral_units")

# Tables with a row for each letter, and the rows before the first letter.
LETTER_TABLES = {"ctc.output.weight": BLANK + 1, "ctc.output.bias": BLANK + 1, "spelling.weight": 0}
UNIT_TABLE = "units.weight"


def take_over(model: SpeechLLMBase, folder: Path) -> list[str]:
    """Copy the trained weights in ``folder`` into ``model``, in place; returns the names that stay as they were.

    Weights are taken by name and shape; rows that stand for letters by letter, whatever their number; rows that stand
    for units where both models read the same units.
    """
    theirs, weights = read_saved(folder)["model"], read_weights(folder)
    if not read_same_units(model.config, theirs):
        weights.pop(UNIT_TABLE, None)
    characters = theirs.get("characters", "")
    own = model.trained_state()
    for name, n_first in LETTER_TABLES.items():
        if name in weights and name in own and weights[name].shape[1:] == own[name].shape[1:]:
            weights[name] = match_letters(own[name], weights[name], model.characters, characters, n_first)
    left_out = model.load_trained(weights, strict=False)
    how_much = f", but for {len(left_out)} weights: {name_some(left_out, 4)}" if left_out else " whole"
    log.info("%s: taken over%s", folder, how_much)
    if new := sorted(set(model.characters) - set(characters)):
        log.info(
            "%s: has never heard %d letters, which are learnt from the beginning: %s", folder, len(new), "".join(new)
        )
    return left_out


def match_letters(
    own: torch.Tensor, theirs: torch.Tensor, characters: str, their_characters: str, n_first: int
) -> torch.Tensor:
    """``own`` (n_first + letters, …) with the first rows and those of shared letters from ``theirs``."""
    rows = {letter: row for row, letter in enumerate(their_characters, n_first)}
    shared = [(row, rows[letter]) for row, letter in enumerate(characters, n_first) if letter in rows]
    pairs = torch.tensor([*((row, row) for row in range(n_first)), *shared], dtype=torch.long).reshape(-1, 2)
    matched = own.detach().cpu().clone()
    matched[pairs[:, 0]] = theirs[pairs[:, 1]].to(matched)
    return matched


def read_same_units(own: SpeechLLMConfig, theirs: Mapping[str, object]) -> bool:
    """Whether rows of both mean the same units; an older model does not say, and is taken at its number of units."""
    return own.get("units_hash") == theirs.get("units_hash", own.get("units_hash"))
