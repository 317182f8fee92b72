"""The top layers of a speech encoder as PyTorch's own transformer layers, so that they can be trained on and saved.

Whisper, wav2vec 2.0 and HuBERT have layers of the same mathematics (Vaswani et al. 2017) under names of their own.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from core.errors import UserError
from encoders.pretrained import read_pretrained_config
from encoders.table import FAMILIES, needs_download, own_encoder


class LayerNames(NamedTuple):
    """What a family calls the parts of one of its layers."""

    attention: str
    parts: Mapping[str, str]  # name of nn.TransformerEncoderLayer -> its own


_WHISPER = LayerNames(
    "self_attn",
    {"norm1": "self_attn_layer_norm", "linear1": "fc1", "linear2": "fc2", "norm2": "final_layer_norm"},
)
_WAV2VEC = LayerNames(
    "attention",
    {
        "norm1": "layer_norm",
        "linear1": "feed_forward.intermediate_dense",
        "linear2": "feed_forward.output_dense",
        "norm2": "final_layer_norm",
    },
)
LAYER_NAMES = {"whisper": _WHISPER, "wav2vec2": _WAV2VEC, "hubert": _WAV2VEC}


def describe_top_layers(name: str, n_layers: int) -> dict[str, object]:
    """Sizes of the top ``n_layers`` layers, and the layer that they read; no weights are loaded.

    Returns width, n_heads, feedforward, norm ("pre" or "post") and speech_enc_layer. Raises UserError for an encoder
    with other layers, or with fewer.
    """
    config = read_pretrained_config(name, FAMILIES) if needs_download(name) else None
    whisper = config is not None and config.model_type == "whisper"
    if config is None or config.model_type not in LAYER_NAMES or getattr(config, "adapter_attn_dim", None):
        kind = config.model_type if config is not None else own_encoder(name).__name__
        raise UserError(f"--connector encoder: takes layers of {', '.join(LAYER_NAMES)}, and {name} is {kind}")
    if (config.activation_function if whisper else config.hidden_act) != "gelu":
        raise UserError(f"--connector encoder: expected layers with gelu, found others in {name}; take another kind")
    if n_layers > config.num_hidden_layers:
        raise UserError(f"--n_layers {n_layers}: {name} has {config.num_hidden_layers}; give at most as many")
    stable = whisper or config.do_stable_layer_norm
    return {
        "width": config.hidden_size,
        "n_heads": config.encoder_attention_heads if whisper else config.num_attention_heads,
        "feedforward": config.encoder_ffn_dim if whisper else config.intermediate_size,
        "norm": "pre" if stable else "post",
        "speech_enc_layer": config.num_hidden_layers - n_layers,
    }


def read_top_layers(name: str, n_layers: int) -> dict[str, torch.Tensor]:
    """Weights of the top ``n_layers`` layers by the names of a ``Connector``'s body: layers.0.self_attn…, norm.…"""
    config = read_pretrained_config(name, FAMILIES)
    family, last = config.model_type, config.num_hidden_layers
    network = FAMILIES[family](name, config, last).network
    network = network if family == "whisper" else network.encoder
    state = {}
    for place, layer in enumerate(network.layers[last - n_layers :]):
        found = convert_layer(layer, LAYER_NAMES[family])
        state |= {f"layers.{place}.{part}": value for part, value in found.items()}
    if family == "whisper" or config.do_stable_layer_norm:
        state |= {f"norm.{part}": value.detach() for part, value in network.layer_norm.state_dict().items()}
    return state


def convert_layer(layer: nn.Module, names: LayerNames) -> dict[str, torch.Tensor]:
    """The weights of one layer by the names of nn.TransformerEncoderLayer."""
    attention = layer.get_submodule(names.attention)
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    # Whisper's keys have no bias; it would cancel in the softmax.
    biases = [torch.zeros(len(one.weight)) if one.bias is None else one.bias.detach() for one in projections]
    state = {
        "self_attn.in_proj_weight": torch.cat([one.weight.detach() for one in projections]),
        "self_attn.in_proj_bias": torch.cat(biases),
    }
    parts = {"self_attn.out_proj": attention.out_proj}
    parts |= {part: layer.get_submodule(own) for part, own in names.parts.items()}
    for part, module in parts.items():
        state |= {f"{part}.{kind}": value.detach() for kind, value in module.state_dict().items()}
    return state
