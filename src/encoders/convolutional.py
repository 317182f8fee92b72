"""Encoders that hear the raw waveform through strided convolutions: wav2vec 2.0, XLS-R, MMS, HuBERT, WavLM."""

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.frames import HOP_SAMPLES
from encoders.pretrained import load_weights, read_feature_extractor
from encoders.windows import UNBOUNDED, stack_pieces


class ConvolutionalEncoder(nn.Module):
    """A stack of convolutions, then the first ``layer`` layers of a transformer.

    name: hub id or folder. config: of transformers. layer: 0 is what enters the first layer, n what the n-th returns;
    behind the last one stands the model's final norm, if it has one. network: given where it was read from a file of
    another toolkit, for signals of zero mean and unit variance; equal_only: then, whether padding changes the others.
    """

    options = ()
    longest_window = UNBOUNDED
    has_positions = False  # its position embedding is a convolution: relative
    is_cheap = False

    def __init__(
        self, name: str, config, layer: int, *, network: nn.Module | None = None, equal_only: bool = False
    ) -> None:
        super().__init__()
        self.margins = margins_of(field_of_view(name, config.conv_kernel, config.conv_stride))
        self.dim = config.hidden_size
        # Group norm in the first convolution spans the whole input, padding included, whatever the mask says.
        self.equal_only = equal_only or getattr(config, "feat_extract_norm", "layer") == "group"
        self.normalized = network is not None or _reads_normalized(name)
        self.network = network if network is not None else _load_layers(name, config, layer)

    def padded_frames(self, n_frames: int) -> int:
        return n_frames

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        """(S,) float32 -> (S,) float32, over the whole signal, where the model's preprocessor does so too."""
        return _zero_mean_unit_variance(waveform) if self.normalized and len(waveform) else waveform

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """Zero-padded (B, S) ``input_values``, with ``attention_mask`` where the lengths differ."""
        lengths = torch.tensor([len(piece) for piece in pieces])
        values, longest = stack_pieces(pieces), int(lengths.max())
        if self.equal_only or bool((lengths == longest).all()):
            return {"input_values": values}
        return {"input_values": values, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, S) float32, margins included, and its mask -> (B, F, D): the hidden state after ``layer``."""
        masked = {} if attention_mask is None else {"attention_mask": attention_mask}
        return self.network(input_values=input_values, **masked).last_hidden_state


def field_of_view(name: str, kernels: list[int], strides: list[int]) -> int:
    """Samples that one frame is made from. UserError for convolutions that do not advance by 320 samples a frame."""
    hop, field = 1, 1
    for kernel, stride in zip(kernels, strides):
        field, hop = field + (kernel - 1) * hop, hop * stride
    if hop != HOP_SAMPLES or field < hop:
        raise UserError(f"{name}: expected a hop of {HOP_SAMPLES} samples, found {hop} (field of view {field} samples)")
    return field


def margins_of(field: int) -> tuple[int, int]:
    """Samples wanted left and right of a window, so that a frame's ``field`` of view is centred on the frame."""
    left = (field - HOP_SAMPLES) // 2
    return left, field - HOP_SAMPLES - left


def _reads_normalized(name: str) -> bool:
    """Whether the model's preprocessor brings the waveform to zero mean and unit variance."""
    from transformers import Wav2Vec2FeatureExtractor

    return read_feature_extractor(name, Wav2Vec2FeatureExtractor).do_normalize


def _zero_mean_unit_variance(waveform: np.ndarray) -> np.ndarray:
    """As transformers' Wav2Vec2FeatureExtractor does it."""
    return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)


def _load_layers(name: str, config, layer: int) -> nn.Module:
    """The model with its first ``layer`` layers: only they are built and read."""
    from transformers import AutoModel

    n_layers = config.num_hidden_layers
    config.num_hidden_layers, config.add_adapter = layer, False
    network = load_weights(AutoModel.from_pretrained, name, config)
    return end_at_layer(network, config, layer, n_layers)


def end_at_layer(network: nn.Module, config, layer: int, n_layers: int) -> nn.Module:
    """The network without its final norm where it ends before the last of its ``n_layers`` layers."""
    # The norm after the last layer belongs to the last hidden state alone.
    if layer < n_layers and getattr(config, "do_stable_layer_norm", False):
        network.encoder.layer_norm = nn.Identity()
    return network
