"""The CTC head of a saved speech LLM by itself: its LLM, most of what a model weighs, is never read."""

from pathlib import Path
from typing import NamedTuple

import torch

from core.device import has_fast_bf16
from core.errors import UserError
from models.ctc_reader import PARTS, CtcReader
from speech_llm.saved_model import open_saved_encoder, read_saved, read_weights


class CharacterHead(NamedTuple):
    """What hears letters."""

    model: CtcReader  # in eval mode
    encoder: object  # of encoders.feature_cache.open_encoder
    half: bool  # computed in bf16, as the whole model would be


def load_character_head(exp: Path, *, device: str | torch.device = "cpu", precision: str = "auto") -> CharacterHead:
    """The head of an experiment, or of a folder of ``save_pretrained``, with the encoder that it listens to.

    precision: of the frozen encoder: fp32, bf16 or auto. Raises UserError for a model that reads units or has no CTC
    head, and for weights of another configuration.
    """
    config = read_saved(exp)["model"]
    if config.get("front_end", "features") != "features":
        raise UserError(f"{exp}: reads units, not audio; align with a model that hears, or with --whisper")
    if not config.get("characters"):
        raise UserError(
            f"{exp}: has no CTC head, which hears when a letter is said; train one with --ctc_warmup_steps, "
            "or align with --whisper"
        )
    weights = {name: value for name, value in read_weights(exp).items() if name.startswith(PARTS)}
    out_dim = weights["connector.output.weight"].shape[0] if "connector.output.weight" in weights else 1
    model = CtcReader(config, out_dim)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{exp}: expected the weights of its config.json, found others: {said}") from error
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    encoder = open_saved_encoder(config, precision, str(device))
    return CharacterHead(model.to(device).eval(), encoder, precision == "bf16")
