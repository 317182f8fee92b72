"""Speech LLMs built, saved, loaded, and used to transcribe waveforms."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from core.commands import as_typed, how_to_get_model
from core.device import has_fast_bf16
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.frames import SAMPLE_RATE
from core.records import Candidate, HeardPiece, SavedSpeechLLM, SpeechLLMConfig
from models.speech_llm_model import SpeechLLMBase, check_lora_targets
from speech_llm.decoding import default_decoding, transcribe_features
from speech_llm.llm_options import loading_options
from speech_llm.timed_words import describe_pieces

FORMAT, FORMAT_VERSION = "oral-units speech LLM", 1
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class SpeechLLM(NamedTuple):
    """A trained model, ready to transcribe."""

    model: SpeechLLMBase
    encoder: object | None  # of encoders.feature_cache.open_encoder; None where the model reads units
    decoding: dict[str, object]  # how the model was trained to be decoded


def load_tokenizer(llm_id: str, revision: str | None):
    """The LLM's tokenizer, by hub id or folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(llm_id, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _missing_llm(llm_id, error) from error


def load_llm(
    llm_id: str,
    revision: str | None,
    dtype: torch.dtype,
    *,
    device: str | torch.device = "cpu",
    attention: str | None = None,
    bits: int | None = None,
) -> tuple:
    """(causal LM, tokenizer) by hub id or folder, from safetensors; code in the hub is never run.

    attention, bits: of speech_llm.llm_options; fewer bits are made on the ``device``, which the model stays on.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    refuse_no_llm(llm_id, revision)
    tokenizer = load_tokenizer(llm_id, revision)
    options = loading_options(attention=attention, bits=bits, dtype=dtype, device=device)
    transformers_logging.disable_progress_bar()
    try:
        llm = AutoModelForCausalLM.from_pretrained(
            llm_id, revision=revision, dtype=dtype, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        if options:
            flags = f"--attention {attention or 'default'}, --llm_bits {bits or 'default'}"
            raise UserError(f"{llm_id}: cannot be loaded with {flags}: {_first_line(error)}") from error
        raise _missing_llm(llm_id, error) from error
    finally:
        transformers_logging.enable_progress_bar()
    return llm, tokenizer


def refuse_no_llm(llm_id: str, revision: str | None, lora_targets: Sequence[str] = ()) -> None:
    """UserError for what is no causal language model, or lacks the ``lora_targets``; no weights are read.

    transformers would take the decoder of an encoder-decoder, such as Whisper, for a language model in silence.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(llm_id, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _missing_llm(llm_id, error) from error
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"--llm_id {llm_id}: expected a causal language model, found an encoder with a decoder "
            f"({config.model_type}); a speech encoder is --speech_enc_id"
        )
    if lora_targets:
        with torch.device("meta"):
            check_lora_targets(AutoModelForCausalLM.from_config(config), list(lora_targets))


def _missing_llm(llm_id: str, error: Exception) -> UserError:
    return UserError(
        f"{llm_id}: expected a causal language model (folder or hub id), found: {_first_line(error)}; "
        f"{how_to_get_model(llm_id)}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def build_speech_llm(
    config: SpeechLLMConfig,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
    *,
    attention: str | None = None,
) -> SpeechLLMBase:
    """A model with fresh trained parts around the pretrained LLM that ``config`` names."""
    options = {"device": device, "attention": attention, "bits": config.get("llm_bits")}
    llm, tokenizer = load_llm(config["llm_id"], config.get("llm_revision"), dtype, **options)
    return SpeechLLMBase(llm, tokenizer, config).to(device)


def save_pretrained(folder: Path, model: SpeechLLMBase, notes: dict[str, object] | None = None) -> None:
    """Write config.json and model.safetensors: what was trained, and the ids of what was not.

    notes: what else is worth knowing (step, scores); the weights are renamed into place last.
    """
    weights = {name: value.cpu().contiguous() for name, value in model.trained_state().items()}
    described: SavedSpeechLLM = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model.config,
        "notes": notes or {},
    }
    write_json(Path(folder) / "config.json", described)
    content = save(weights, {"format": "pt"})
    write_atomically(Path(folder) / "model.safetensors", lambda path: path.write_bytes(content))


def read_saved(folder: Path) -> SavedSpeechLLM:
    """The config.json of ``save_pretrained``; ``folder`` is a saved model or the experiment that holds one in best/."""
    folder = find_saved(folder)
    config = read_json(folder / "config.json")
    kind, version = config.get("format"), config.get("format_version")
    if kind != FORMAT:
        found = config.get("model_type") or "something else"
        raise UserError(
            f"{folder}: expected a speech LLM that trainer_base.py has trained, found {found}; name another"
        )
    if not isinstance(version or 0, int) or (version or 0) > FORMAT_VERSION:
        raise UserError(
            f"{folder}: expected '{FORMAT}' up to version {FORMAT_VERSION}, found version {version}; "
            "update this project"
        )
    return config


def find_saved(folder: Path) -> Path:
    """``folder`` or its ``best``, whichever holds model.safetensors."""
    for place in (Path(folder), Path(folder) / "best"):
        if (place / "model.safetensors").is_file():
            return place
    command = as_typed("python", "src/trainer_base.py", "--exp", folder, "--do_train")
    raise UserError(
        f"{folder}: expected a trained speech LLM (best/model.safetensors), found none; check the path, or train one: "
        f"{command} --data FOLDER"
    )


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    path = find_saved(folder) / "model.safetensors"
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: expected safetensors, found: {str(error).splitlines()[0]}") from error


def from_pretrained(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    attention: str | None = None,
) -> SpeechLLMBase:
    """The saved model in eval mode. Raises UserError where weights and config.json do not belong together."""
    model = build_speech_llm(read_saved(folder)["model"], dtype, device, attention=attention)
    try:
        model.load_trained(read_weights(folder))
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error
    return model.eval()


HEARS = ("front_end", "speech_enc_id", "speech_enc_layer", "padding", "in_dim", "n_units", "units_hash", "characters")


def add_heads(model: SpeechLLMBase, folders: Sequence[Path]) -> SpeechLLMBase:
    """The model, which from now on hears with the CTC heads in these ``folders`` too: the mean of all posteriors.

    Raises UserError for a head of other features, letters or positions.
    """
    if folders and (model.ctc is None or model.units is not None):
        raise UserError("--ensemble: averages CTC heads that hear features, and this model has none; leave it out")
    for folder in folders:
        config = read_saved(folder)["model"]
        different = [name for name in HEARS if config.get(name) != model.config.get(name)]
        different += ["factor"] if config["connector"]["factor"] != model.connector.factor else []
        if different:
            raise UserError(f"--ensemble {folder}: expected a head of the same {different[0]}, found another")
        try:
            model.add_head(config["connector"], read_weights(folder))
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    return model


def load_speech_llm(exp: Path, *, device: str | torch.device = "cpu", precision: str = "auto") -> SpeechLLM:
    """A trained model with its encoder, in eval mode.

    exp: an experiment, or a folder of ``save_pretrained``. precision: of the frozen models: fp32, bf16 or auto.
    """
    saved = read_saved(exp)
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    encoder = open_saved_encoder(saved["model"], precision, str(device))
    model = from_pretrained(exp, DTYPES[precision], device)
    return SpeechLLM(model, encoder, default_decoding(model) | saved["notes"].get("decoding", {}))


def open_saved_encoder(config: SpeechLLMConfig, precision: str, device: str) -> object | None:
    """The frozen encoder that a saved model listens to; None where it reads units."""
    from encoders.feature_cache import open_encoder

    if config["front_end"] != "features":
        return None
    name, layer, padding = config["speech_enc_id"], config["speech_enc_layer"], config.get("padding", "full")
    return open_encoder(name, layer, precision=precision, device=device, padding=padding)


def transcribe(speech_llm: SpeechLLM, waveforms: Sequence[np.ndarray], *, batch_size: int = 8, **options) -> list[str]:
    """What the model hears in each (S,) float32 at 16 kHz; the likeliest of ``transcribe_n_best``."""
    found = transcribe_n_best(speech_llm, waveforms, batch_size=batch_size, **options)
    return [candidates[0]["text"] for candidates in found]


def transcribe_n_best(
    speech_llm: SpeechLLM, waveforms: Sequence[np.ndarray], *, batch_size: int = 8, **options
) -> list[list[Candidate]]:
    """Candidates for each (S,) float32 waveform at 16 kHz, likeliest first; an empty waveform gives "".

    options: of speech_llm.decoding.transcribe_features (num_beams, n_best, decoder, ctc_weight …).
    """
    return _transcribe(speech_llm, waveforms, _encode(speech_llm, waveforms), batch_size=batch_size, **options)


def transcribe_with_times(
    speech_llm: SpeechLLM,
    waveforms: Sequence[np.ndarray],
    *,
    timed: bool = True,
    rated: bool = True,
    batch_size: int = 8,
    **options,
) -> list[HeardPiece]:
    """What the model hears in each (S,) float32 at 16 kHz, with when each word is said and how sure it is."""
    features = _encode(speech_llm, waveforms)
    found = _transcribe(speech_llm, waveforms, features, batch_size=batch_size, **options)
    texts = [candidates[0]["text"] for candidates in found]
    return describe_pieces(speech_llm.model, features, texts, timed=timed, rated=rated, batch_size=batch_size)


def _encode(speech_llm: SpeechLLM, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The (F, D) features of each (S,) waveform."""
    from encoders.feature_cache import encode_features

    if speech_llm.encoder is None:
        raise UserError(
            "this model reads units, not audio: give it a data folder with --do_generate of trainer_base.py"
        )
    return encode_features(speech_llm.encoder, waveforms)


def _transcribe(
    speech_llm: SpeechLLM, waveforms: Sequence[np.ndarray], features: Sequence[np.ndarray], **options
) -> list[list[Candidate]]:
    seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    return transcribe_features(speech_llm.model, features, seconds, **(speech_llm.decoding | options))
