"""XEUS (Chen et al. 2024) from ESPnet's files: a checkpoint, and config.yaml beside it.

Convolutions over the waveform, a projection, a convolution for the position, and layers of the E-Branchformer (Kim et
al. 2022): attention and a gated convolution side by side. Modules are named as ESPnet names their weights.

Axes: B batch, S samples, F frames, D features.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import yaml

from core.errors import UserError
from encoders.convolutional import field_of_view, margins_of
from encoders.weight_files import count_layers, fill_network, read_weights, rename_weights, shape_of
from encoders.windows import UNBOUNDED, stack_pieces

NORM_EPS = 1e-12  # of ESPnet's own layer norm
CONVOLUTIONS = ((512, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2))
LAYERS = "encoder.encoders."
POSITION = "encoder.embed.0.convs.0"
# What versions of ESPnet and torch call the position's convolution.
OLD_NAMES = (
    (r"^encoder\.embed\.0\.conv\.", "encoder.embed.0.convs.0."),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)
# What is built here; another value in config.yaml is refused. What a file leaves out has these values.
BUILT = {"frontend": "wav2vec_cnn", "preencoder": "linear", "encoder": "e_branchformer"}
BUILT_FRONTEND = {"norm_mode": "layer_norm", "conv_mode": "standard"}
BUILT_ENCODER = {
    "attention_layer_type": "selfattn",
    "pos_enc_layer_type": "conv",
    "use_linear_after_conv": False,
    "gate_activation": "identity",
    "input_layer": None,
    "use_ffn": True,
    "macaron_ffn": True,
    "ffn_activation_type": "swish",
    "positionwise_layer_type": "linear",
    "qk_norm": False,
}


class XeusEncoder(nn.Module):
    """What the n-th layer returns; behind the last one stands the encoder's final norm."""

    options = ("file", "layer")
    weight_files = ("*.pth", "*.safetensors")
    beside = ("config.yaml",)
    longest_window = UNBOUNDED
    has_positions = is_cheap = False
    equal_only = True  # convolutions in each layer carry what lies behind the end back into the signal

    def __init__(self, *, file: Path, layer: int) -> None:
        super().__init__()
        frontend, encoder = read_config(file)
        weights = merge_weight_norm(read_weights(file))
        shapes = frontend.get("shapes") or CONVOLUTIONS
        field = field_of_view(str(file), [kernel for _, kernel, _ in shapes], [stride for _, _, stride in shapes])
        self.margins, self.normalized = margins_of(field), bool(frontend.get("normalize_audio"))
        self.dim, n_layers = encoder["output_size"], count_layers(weights, LAYERS, file)
        with torch.device("meta"):
            network = XeusNetwork(shapes, frontend, encoder, shape_of(weights, f"{POSITION}.weight", file), layer)
            if layer < n_layers:
                network.encoder.after_norm = nn.Identity()
        self.network = fill_network(network, weights, file)

    @staticmethod
    def read_shape(file: Path) -> tuple[int, int]:
        """(layers, features of a frame) of a file."""
        _, encoder = read_config(file)
        return count_layers(read_weights(file), LAYERS, file), encoder["output_size"]

    def padded_frames(self, n_frames: int) -> int:
        return n_frames

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        """(S,) float32 -> (S,) float32: zero mean and unit variance over the signal, where config.yaml says so."""
        if not self.normalized or not len(waveform):
            return waveform
        return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-5)).astype(np.float32)

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {"samples": stack_pieces(pieces)}

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, S) float32, margins included -> (B, F, D)."""
        return self.network(samples)


def read_config(file: Path) -> tuple[dict, dict]:
    """``frontend_conf`` and ``encoder_conf`` of the config.yaml beside a checkpoint; refuses what is not built here."""
    path = file.with_name("config.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        frontend, encoder = config.get("frontend_conf") or {}, config["encoder_conf"]
        sizes = [encoder[name] for name in ("output_size", "attention_heads", "cgmlp_linear_units", "linear_units")]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected ESPnet's configuration beside the weights, found {error}") from error
    for section, built in ((config, BUILT), (frontend, BUILT_FRONTEND), (encoder, BUILT_ENCODER)):
        for name, value in built.items():
            if section.get(name, value) != value:
                raise UserError(f"{path}: expected {name} {value} as in XEUS, found {section[name]}")
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(f"{path}: expected sizes as whole numbers, found {sizes}")
    return frontend, encoder


def merge_weight_norm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The position's convolution as one weight: magnitude (1, 1, W) times direction (D, D / groups, W)."""
    weights = rename_weights(weights, OLD_NAMES)
    magnitude, direction = weights.pop(f"{POSITION}.weight_g", None), weights.pop(f"{POSITION}.weight_v", None)
    if magnitude is not None and direction is not None:
        length = direction.float().norm(dim=(0, 1), keepdim=True)
        weights[f"{POSITION}.weight"] = magnitude.float() * direction.float() / length
    return weights


class XeusNetwork(nn.Module):
    """(B, S) -> (B, F, D). ``position``: the shape (D, D / groups, W) of the position's convolution."""

    def __init__(self, shapes, frontend: dict, encoder: dict, position: torch.Size, n_layers: int) -> None:
        super().__init__()
        self.frontend = Frontend(
            shapes, has_bias=frontend.get("bias", True), is_normalized=bool(frontend.get("normalize_output"))
        )
        self.preencoder = nn.ModuleDict({"linear_out": nn.Linear(shapes[-1][0], encoder["output_size"])})
        self.encoder = EBranchformer(encoder, position, n_layers)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.preencoder["linear_out"](self.frontend(samples)))


class Frontend(nn.Module):
    """wav2vec 2.0's convolutions, each with a layer norm over its channels: (B, S) -> (B, F, C)."""

    def __init__(self, shapes, *, has_bias: bool, is_normalized: bool) -> None:
        super().__init__()
        inputs = [1, *(channels for channels, _, _ in shapes)]
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv": nn.Conv1d(before, channels, kernel, stride, bias=has_bias),
                    "layer_norm": nn.LayerNorm(channels),
                }
            )
            for before, (channels, kernel, stride) in zip(inputs, shapes)
        )
        self.final_norm = nn.LayerNorm(inputs[-1]) if is_normalized else nn.Identity()

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        states = samples[:, None]
        for layer in self.layers:
            states = layer["layer_norm"](layer["conv"](states).transpose(1, 2)).transpose(1, 2)
            states = functional.gelu(states)
        return self.final_norm(states.transpose(1, 2))


class EBranchformer(nn.Module):
    """(B, F, D) -> (B, F, D). The position's convolution replaces its input, as in ESPnet: nothing is added to it."""

    def __init__(self, sizes: dict, position: torch.Size, n_layers: int) -> None:
        super().__init__()
        dim, width = position[0], position[2]
        convolution = nn.Conv1d(dim, dim, width, padding=width // 2, groups=dim // position[1])
        self.embed = nn.ModuleList([nn.ModuleDict({"convs": nn.ModuleList([convolution])})])
        self.encoders = nn.ModuleList(EBranchformerLayer(sizes) for _ in range(n_layers))
        self.after_norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        n_frames = states.shape[1]
        states = self.embed[0]["convs"][0](states.transpose(1, 2))[..., :n_frames].transpose(1, 2)
        states = functional.gelu(states)
        for layer in self.encoders:
            states = layer(states)
        return self.after_norm(states)


class EBranchformerLayer(nn.Module):
    """Half a feed-forward part, two branches merged, the other half, a norm: (B, F, D) -> (B, F, D)."""

    def __init__(self, sizes: dict) -> None:
        super().__init__()
        dim, units, width = sizes["output_size"], sizes["linear_units"], sizes.get("merge_conv_kernel", 3)
        self.feed_forward_macaron, self.feed_forward = FeedForward(dim, units), FeedForward(dim, units)
        self.attn = Attention(dim, sizes["attention_heads"])
        self.cgmlp = GatedConvolution(dim, sizes["cgmlp_linear_units"], sizes.get("cgmlp_conv_kernel", 31))
        for name in ("norm_ff_macaron", "norm_mha", "norm_mlp", "norm_ff", "norm_final"):
            self.add_module(name, nn.LayerNorm(dim, eps=NORM_EPS))
        self.depthwise_conv_fusion = nn.Conv1d(2 * dim, 2 * dim, width, padding=(width - 1) // 2, groups=2 * dim)
        self.merge_proj = nn.Linear(2 * dim, dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = states + 0.5 * self.feed_forward_macaron(self.norm_ff_macaron(states))
        both = torch.cat([self.attn(self.norm_mha(states)), self.cgmlp(self.norm_mlp(states))], dim=-1)
        spread = self.depthwise_conv_fusion(both.transpose(1, 2)).transpose(1, 2)
        states = states + self.merge_proj(both + spread)
        states = states + 0.5 * self.feed_forward(self.norm_ff(states))
        return self.norm_final(states)


class FeedForward(nn.Module):
    def __init__(self, dim: int, n_units: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(dim, n_units), nn.Linear(n_units, dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, F, D) -> (B, F, D)."""
        return self.w_2(functional.silu(self.w_1(states)))


class Attention(nn.Module):
    """Every frame looks at all frames of the signal."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        for name in ("linear_q", "linear_k", "linear_v", "linear_out"):
            self.add_module(name, nn.Linear(dim, dim))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, F, D) -> (B, F, D)."""
        projected = (self.linear_q(states), self.linear_k(states), self.linear_v(states))
        heads = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in projected)
        return self.linear_out(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class GatedConvolution(nn.Module):
    """cgMLP: half of the channels, normed and convolved over time, multiplies the other half."""

    def __init__(self, dim: int, n_units: int, width: int) -> None:
        super().__init__()
        half = n_units // 2
        self.channel_proj1 = nn.ModuleList([nn.Linear(dim, n_units)])
        convolution = nn.Conv1d(half, half, width, padding=(width - 1) // 2, groups=half)
        self.csgu = nn.ModuleDict({"norm": nn.LayerNorm(half, eps=NORM_EPS), "conv": convolution})
        self.channel_proj2 = nn.Linear(half, dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, F, D) -> (B, F, D)."""
        kept, gate = functional.gelu(self.channel_proj1[0](states)).chunk(2, dim=-1)
        gate = self.csgu["conv"](self.csgu["norm"](gate).transpose(1, 2)).transpose(1, 2)
        return self.channel_proj2(kept * gate)
