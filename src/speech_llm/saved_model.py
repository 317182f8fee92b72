"""Speech LLMs built, saved, loaded and asked what they hear."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from core.device import has_fast_bf16
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.frames import SAMPLE_RATE
from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import read_aloud_options, transcribe_features

FORMAT, FORMAT_VERSION = "oral-units speech LLM", 1
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_tokenizer(llm_id: str, revision: str | None):
    """The LLM's tokenizer, by hub id or folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(llm_id, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _missing_llm(llm_id, error) from error


def load_llm(llm_id: str, revision: str | None, dtype: torch.dtype) -> tuple:
    """(causal LM, tokenizer) by hub id or folder, from safetensors; code in the hub is never run."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    tokenizer = load_tokenizer(llm_id, revision)
    transformers_logging.disable_progress_bar()
    try:
        llm = AutoModelForCausalLM.from_pretrained(llm_id, revision=revision, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise _missing_llm(llm_id, error) from error
    finally:
        transformers_logging.enable_progress_bar()
    return llm, tokenizer


def _missing_llm(llm_id: str, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{llm_id}: expected a causal language model (folder or hub id), found: {reason}; "
        f"where there is a network, run: python scripts/fetch_models.py --model {llm_id}"
    )


def build_speech_llm(config: dict, dtype: torch.dtype, device: str | torch.device = "cpu") -> SpeechLLMBase:
    """A model with fresh trained parts around the pretrained LLM that ``config`` names."""
    llm, tokenizer = load_llm(config["llm_id"], config.get("llm_revision"), dtype)
    return SpeechLLMBase(llm, tokenizer, config).to(device)


def save_pretrained(folder: Path, model: SpeechLLMBase, notes: dict | None = None) -> None:
    """Write config.json and model.safetensors: what was trained, and the ids of what was not.

    notes: what else is worth knowing (step, scores); the weights are renamed into place last.
    """
    weights = {name: value.cpu().contiguous() for name, value in model.trained_state().items()}
    described = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": model.config, "notes": notes or {}}
    write_json(Path(folder) / "config.json", described)
    content = save(weights, {"format": "pt"})
    write_atomically(Path(folder) / "model.safetensors", lambda path: path.write_bytes(content))


def read_saved(folder: Path) -> dict:
    """The config.json of ``save_pretrained``; ``folder`` is a saved model or the experiment that holds one in best/."""
    folder = find_saved(folder)
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT or config.get("format_version", 0) > FORMAT_VERSION:
        found = f"'{config.get('format')}' version {config.get('format_version')}"
        raise UserError(f"{folder}: expected '{FORMAT}' up to version {FORMAT_VERSION}, found {found}")
    return config


def find_saved(folder: Path) -> Path:
    """``folder`` or its ``best``, whichever holds model.safetensors."""
    for place in (Path(folder), Path(folder) / "best"):
        if (place / "model.safetensors").is_file():
            return place
    raise UserError(f"{folder}: expected a trained speech LLM (best/model.safetensors), found none; train it first")


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    path = find_saved(folder) / "model.safetensors"
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: expected safetensors, found: {str(error).splitlines()[0]}") from error


def from_pretrained(folder: Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"):
    """The saved model in eval mode. Raises UserError where weights and config.json do not belong together."""
    model = build_speech_llm(read_saved(folder)["model"], dtype, device)
    try:
        model.load_trained(read_weights(folder))
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error
    return model.eval()


def load_speech_llm(exp: Path, *, device: str | torch.device = "cpu", precision: str = "auto") -> dict:
    """A trained model that can hear: {"model", "encoder" (None where it reads units), "config", "options"}.

    exp: an experiment, or a folder of ``save_pretrained``. precision: of the frozen models: fp32, bf16 or auto.
    """
    from encoders.feature_cache import open_encoder

    saved = read_saved(exp)
    config = saved["model"]
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    encoder = None
    if config["front_end"] == "features":
        encoder = open_encoder(
            config["speech_enc_id"],
            config["speech_enc_layer"],
            precision=precision,
            device=str(device),
            padding=config.get("padding", "full"),
        )
    model = from_pretrained(exp, DTYPES[precision], device)
    options = read_aloud_options(model) | saved["notes"].get("decoding", {})
    return {"model": model, "encoder": encoder, "config": config, "options": options, "precision": precision}


def transcribe(speech_llm: dict, waveforms: Sequence[np.ndarray], *, batch_size: int = 8, **options) -> list[str]:
    """What the model hears in each (S,) float32 at 16 kHz; the likeliest of ``transcribe_n_best``."""
    found = transcribe_n_best(speech_llm, waveforms, batch_size=batch_size, **options)
    return [candidates[0]["text"] for candidates in found]


def transcribe_n_best(
    speech_llm: dict, waveforms: Sequence[np.ndarray], *, batch_size: int = 8, **options
) -> list[list[dict]]:
    """[{"text", "score"}, …] for each waveform, likeliest first; an empty waveform gives "".

    options: of speech_llm.decoding.transcribe_features (num_beams, n_best, decoder, ctc_weight …).
    """
    from encoders.feature_cache import encode_features

    if speech_llm["encoder"] is None:
        raise UserError(
            "this model reads units, not audio: give it a data folder with --do_generate of trainer_base.py"
        )
    features = encode_features(speech_llm["encoder"], waveforms)
    seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    chosen = speech_llm["options"] | options
    return transcribe_features(speech_llm["model"], features, seconds, batch_size=batch_size, **chosen)
