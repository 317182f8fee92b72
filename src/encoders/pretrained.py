"""Hugging Face speech encoders as plain dicts: configuration, weights up to one layer, input preparation.

Weights are read from safetensors, or from a torch file with ``weights_only=True``; nothing loaded can run code.
"""

import functools
import logging
import os
from collections.abc import Callable

import numpy as np
import torch

from core.errors import UserError
from core.frames import HOP_SAMPLES, SAMPLE_RATE, UNIT_RATE, frames_to_samples, samples_to_frames

CONVOLUTIONAL = ("wav2vec2", "hubert", "wavlm")  # raw waveform in; XLS-R and MMS are wav2vec2
FAMILIES = (*CONVOLUTIONAL, "whisper")
UNBOUNDED = 1 << 31  # frames: no limit on the length of the input
# Only used to mask inputs in training; some checkpoints leave it out.
OPTIONAL_WEIGHTS = frozenset({"masked_spec_embed"})
# A Whisper frame looks at samples around 320 f, half a frame early; 160 samples more on the left centre frame f + 1.
WHISPER_LEAD = HOP_SAMPLES // 2
PADDINGS = ("full", "short")
# Short padding: at least a second of silence, and inputs of few distinct lengths, so that batches fill.
SHORT_TAIL, SHORT_STEP = UNIT_RATE, UNIT_RATE  # frames
# On the CPU oneDNN keeps what it prepares for each new input length, 1024 of them at some 10 MB, so that memory would
# grow with the corpus. Its default is restored by setting the variable beforehand.
ONEDNN_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}

log = logging.getLogger("oral_units")


def read_pretrained_config(name: str):
    """The model's configuration (a transformers PretrainedConfig) by hub id or folder; code in the hub is never run.

    Raises UserError where there is none (with the command that fetches it) or the family is not in ``FAMILIES``.
    """
    from transformers import AutoConfig  # takes seconds to import, and mfcc does without

    try:
        config = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise UserError(
            f"{name}: expected a speech encoder in this folder or in the local cache, found none (offline, or no such "
            f"model); where there is a network run: python scripts/fetch_models.py --model {name}"
        ) from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{name}: expected a model of {', '.join(FAMILIES)}, found: {_first_line(error)}") from error
    if config.model_type not in FAMILIES:
        raise UserError(f"{name}: expected a model of {', '.join(FAMILIES)}, found '{config.model_type}'")
    return config


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_pretrained(name: str, layer: int, device: torch.device, padding: str = "full") -> dict:
    """The encoder cut after ``layer`` and what ``encoders.encode.encode`` needs to feed it.

    Keys: ``model``; ``normalize`` (waveform -> waveform, over the whole signal); ``prepare`` (padded pieces -> inputs);
    ``count_frames`` (samples -> frames of a piece); ``margins`` (samples of context left and right of a window);
    ``max_frames`` a window may hold; ``pad_frames`` (frames of a window -> what it costs, padded); ``equal_only``.
    ``padding`` "full" or "short" is Whisper's alone.
    """
    for variable, capacity in ONEDNN_CACHES.items():
        os.environ.setdefault(variable, capacity)
    config = read_pretrained_config(name)
    if padding not in PADDINGS:
        raise UserError(f"expected padding {' or '.join(PADDINGS)}, found '{padding}'")
    if config.model_type == "whisper":
        encoder = _describe_whisper(name, config, padding)
    else:
        encoder = _describe_convolutional(name, config)
    model = _load_truncated(name, config, layer)
    if config.model_type == "whisper" and padding == "short":
        model.forward = functools.partial(_encode_short, model)
    return {**encoder, "model": model.to(device).eval().requires_grad_(False)}


def _load_truncated(name: str, config, layer: int) -> torch.nn.Module:
    """Only the first ``layer`` layers are built and read; hidden state ``layer`` is what the last of them returns."""
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    n_layers = config.num_hidden_layers
    whisper = config.model_type == "whisper"
    if whisper:
        # The decoder is half of the file and more: the encoder alone is built, so only its weights are read.
        config.encoder_layers, load = layer, WhisperEncoder.from_pretrained
        mapping = {r"^(model\.)?encoder\.": ""}
    else:
        config.num_hidden_layers, config.add_adapter, load = layer, False, transformers.AutoModel.from_pretrained
        mapping = None
    model = _load_weights(load, name, config, mapping)
    # The norm after the last layer belongs to the last hidden state alone.
    if layer < n_layers and (whisper or getattr(config, "do_stable_layer_norm", False)):
        (model if whisper else model.encoder).layer_norm = torch.nn.Identity()
    return model


def _load_weights(load: Callable, name: str, config, mapping: dict | None) -> torch.nn.Module:
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would list every weight of the layers left out
    transformers_logging.disable_progress_bar()
    try:
        model, found = load(
            name, config=config, dtype=torch.float32, weights_only=True, key_mapping=mapping, output_loading_info=True
        )
    except OSError as error:
        raise UserError(
            f"{name}: expected weights (safetensors), found: {_first_line(error)}; "
            f"where there is a network run: python scripts/fetch_models.py --model {name}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
    missing = set(found["missing_keys"]) - OPTIONAL_WEIGHTS
    wrong = sorted(missing | {str(key) for key in found["mismatched_keys"]})
    if wrong:
        raise UserError(
            f"{name}: expected every weight of a {config.model_type} encoder, {len(wrong)} missing or of another shape "
            f"({', '.join(wrong[:3])}…); fetch the model anew or give another"
        )
    return model


def _describe_convolutional(name: str, config) -> dict:
    """wav2vec 2.0, HuBERT, WavLM: a stack of strided convolutions on the raw waveform, then a transformer."""
    hop, field = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride):
        field, hop = field + (kernel - 1) * hop, hop * stride
    if hop != HOP_SAMPLES or field < hop:
        raise UserError(f"{name}: expected a hop of {HOP_SAMPLES} samples, found {hop} (field of view {field} samples)")
    left = (field - hop) // 2
    group_norm = config.feat_extract_norm == "group"
    return {
        "normalize": _zero_mean_unit_variance if _reads_normalized(name) else _identity,
        # Group norm in the first convolution spans the whole input, padding included, whatever the mask says.
        "prepare": functools.partial(_prepare_waveforms, masked=not group_norm),
        "count_frames": lambda n_samples: (n_samples - field) // hop + 1,
        "margins": (left, field - hop - left),
        "max_frames": UNBOUNDED,
        "pad_frames": lambda n_frames: n_frames,
        "equal_only": group_norm,
    }


def _reads_normalized(name: str) -> bool:
    """Whether the model's preprocessor brings the waveform to zero mean and unit variance."""
    from transformers import Wav2Vec2FeatureExtractor

    extractor = _feature_extractor(name, Wav2Vec2FeatureExtractor)
    return extractor.do_normalize


def _feature_extractor(name: str, extractor_class: type, **defaults):
    """The model's own feature extractor, or the family's default (said aloud) where it brings none."""
    try:
        extractor = extractor_class.from_pretrained(name)
    except OSError:
        log.warning("%s: no preprocessor_config.json; the family's default is used", name)
        extractor = extractor_class(**defaults)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(f"{name}: expected a model for {SAMPLE_RATE} Hz, found {extractor.sampling_rate} Hz")
    return extractor


def _identity(waveform: np.ndarray) -> np.ndarray:
    return waveform


def _zero_mean_unit_variance(waveform: np.ndarray) -> np.ndarray:
    """(S,) float32 -> (S,) float32, as transformers' Wav2Vec2FeatureExtractor does it."""
    if len(waveform) == 0:
        return waveform
    return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)


def _prepare_waveforms(pieces: list[np.ndarray], *, masked: bool) -> dict[str, torch.Tensor]:
    """Zero-padded (B, S) ``input_values``, with ``attention_mask`` where the lengths differ."""
    lengths = torch.tensor([len(piece) for piece in pieces])
    longest = int(lengths.max())
    values = torch.from_numpy(np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces]))
    if not masked or bool((lengths == longest).all()):
        return {"input_values": values}
    return {"input_values": values, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


def _describe_whisper(name: str, config, padding: str) -> dict:
    """Whisper's encoder: log-mel of 30 s, padded in the audio; positions beyond the signal are cut off."""
    from transformers import WhisperFeatureExtractor

    n_positions = config.max_source_positions
    extractor = _feature_extractor(
        name,
        WhisperFeatureExtractor,
        feature_size=config.num_mel_bins,
        chunk_length=n_positions * HOP_SAMPLES // SAMPLE_RATE,
    )
    extractor.dither = 0.0  # noise drawn anew at each call: units would change from run to run
    if extractor.nb_max_frames != 2 * n_positions:
        raise UserError(
            f"{name}: expected a preprocessor for {2 * n_positions} mel frames, found {extractor.nb_max_frames}; "
            "repair preprocessor_config.json"
        )
    pad_frames = functools.partial(_pad_short if padding == "short" else _pad_full, n_positions=n_positions)
    return {
        "normalize": _identity,
        "prepare": functools.partial(_prepare_log_mel, extractor=extractor, pad_frames=pad_frames),
        "count_frames": lambda n_samples: (n_samples - WHISPER_LEAD) // HOP_SAMPLES + 1,
        "margins": (WHISPER_LEAD, 0),
        "max_frames": n_positions - 1,
        "pad_frames": pad_frames,
        # What a frame is depends on the padding, which must not depend on the neighbours in the batch.
        "equal_only": padding == "short",
    }


def _pad_full(n_frames: int, n_positions: int) -> int:
    return n_positions


def _pad_short(n_frames: int, n_positions: int) -> int:
    return min(-(-(n_frames + SHORT_TAIL) // SHORT_STEP) * SHORT_STEP, n_positions)


def _prepare_log_mel(pieces: list[np.ndarray], *, extractor, pad_frames: Callable) -> dict[str, torch.Tensor]:
    """(B, mel bins, 2 * positions) log-mel; the audio, not the mel, is padded with zeros as ``pad_frames`` says."""
    longest = max(len(piece) for piece in pieces)
    assert longest <= extractor.n_samples, "a window is longer than Whisper's input"
    n_samples = frames_to_samples(pad_frames(samples_to_frames(longest)))
    found = extractor(
        pieces, sampling_rate=SAMPLE_RATE, padding="max_length", max_length=n_samples, return_tensors="pt"
    )
    return {"input_features": found.input_features}


def _encode_short(model: torch.nn.Module, input_features: torch.Tensor):
    """Whisper's encoder as transformers computes it, on an input shorter than 30 s: (B, mel bins, 2 F) -> (B, F, D)."""
    from transformers.modeling_outputs import BaseModelOutput

    states = torch.nn.functional.gelu(model.conv1(input_features))
    states = torch.nn.functional.gelu(model.conv2(states)).permute(0, 2, 1)
    states = states + model.embed_positions.weight[: states.shape[1]]
    for layer in model.layers:
        states = layer(states, None)
    return BaseModelOutput(last_hidden_state=model.layer_norm(states))
