"""Models of Hugging Face: configuration, weights and preprocessor, by hub id or folder.

Weights are read from safetensors, or from a torch file with ``weights_only=True``; nothing loaded can run code.
"""

import logging
import os
from collections.abc import Callable, Collection

import torch

from core.commands import how_to_get_model
from core.errors import UserError
from core.frames import SAMPLE_RATE

# Only used to mask inputs in training; some checkpoints leave it out.
OPTIONAL_WEIGHTS = frozenset({"masked_spec_embed"})
# On the CPU oneDNN keeps what it prepares for each new input length, 1024 of them at some 10 MB, so that memory would
# grow with the corpus. Its default is restored by setting the variable beforehand.
ONEDNN_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}

log = logging.getLogger("oral_units")


def read_pretrained_config(name: str, families: Collection[str], others: Collection[str] = ()):
    """The model's configuration (a transformers PretrainedConfig); code in the hub is never run.

    Raises UserError where there is none (with the command that fetches it) or the family is not in ``families``;
    ``others`` are the names that need no model, for the message.
    """
    from transformers import AutoConfig  # takes seconds to import, and the project's own encoders do without

    without = f", nor one of {', '.join(others)}" if others else ""
    try:
        config = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise UserError(
            f"{name}: expected a speech encoder in this folder or in the local cache, found none (offline, or no such "
            f"model{without}); {how_to_get_model(name)}"
        ) from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{name}: expected a model of {', '.join(families)}, found: {_first_line(error)}") from error
    if config.model_type not in families:
        raise UserError(f"{name}: expected a model of {', '.join(families)}, found '{config.model_type}'")
    return config


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def bound_memory() -> None:
    """Let oneDNN forget input lengths it has seen; before the first model is loaded."""
    for variable, capacity in ONEDNN_CACHES.items():
        os.environ.setdefault(variable, capacity)


def load_weights(load: Callable, name: str, config, key_mapping: dict[str, str] | None = None) -> torch.nn.Module:
    """A model of ``config`` by transformers' ``load``, float32. UserError where a weight is missing or does not fit."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would list every weight of the layers left out
    transformers_logging.disable_progress_bar()
    options = {"dtype": torch.float32, "weights_only": True, "key_mapping": key_mapping, "output_loading_info": True}
    try:
        model, found = load(name, config=config, **options)
    except OSError as error:
        raise UserError(
            f"{name}: expected weights (safetensors), found: {_first_line(error)}; {how_to_get_model(name)}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
    missing = set(found["missing_keys"]) - OPTIONAL_WEIGHTS
    wrong = sorted(missing | {str(key) for key in found["mismatched_keys"]})
    if wrong:
        raise UserError(
            f"{name}: expected every weight of a {config.model_type} encoder, {len(wrong)} missing or of another shape "
            f"({', '.join(wrong[:3])}…); fetch the model again or give another"
        )
    return model


def read_feature_extractor(name: str, extractor_class: type, **defaults: int):
    """The model's own feature extractor, or the family's default (said aloud) where it brings none."""
    try:
        extractor = extractor_class.from_pretrained(name)
    except OSError:
        log.warning("%s: no preprocessor_config.json; the family's default is used", name)
        extractor = extractor_class(**defaults)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(f"{name}: expected a model for {SAMPLE_RATE} Hz, found {extractor.sampling_rate} Hz")
    return extractor
