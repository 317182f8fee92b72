"""SpidR and DinoSR (Poli et al. 2025; Liu et al. 2023) from the checkpoint files of the package ``spidr``.

The student is data2vec's architecture, so transformers has the network; only names differ.
"""

from pathlib import Path

import torch
from torch import nn

from encoders.convolutional import ConvolutionalEncoder
from encoders.weight_files import count_layers, fill_network, read_weights, rename_weights, shape_of

HEAD_DIM = 64  # features of an attention head
LAYERS = "student.layers."
PROJECTION = "feature_projection.projection.weight"
POSITIONS = "student.pos_conv_embed.convs."
# (the package's names, those of transformers), one after another; the teacher is left aside.
NAMES = (
    (r"^student\.pos_conv_embed\.convs\.(\d+)\.", r"encoder.pos_conv_embed.layers.\1.conv."),
    (r"^student\.", "encoder."),
    (r"\.attention\.proj\.", ".attention.out_proj."),
)


class SpidrEncoder(ConvolutionalEncoder):
    """What the n-th layer's feed-forward part returns, before it is added to its input: the features of the paper."""

    options = ("file", "layer")
    weight_files = ("*.pt", "*.safetensors")

    def __init__(self, *, file: Path, layer: int) -> None:
        from transformers import Data2VecAudioModel

        weights = read_weights(file)
        config = _describe(weights, file)
        config.num_hidden_layers = layer
        with torch.device("meta"):
            network = Data2VecAudioModel(config)
        fill_network(network, _split_attention(rename_weights(weights, NAMES)), file)
        if layer:
            network.encoder.layers[-1] = BeforeResidual(network.encoder.layers[-1])
        # Each of several convolutions for the position carries what lies behind the end back into the signal.
        super().__init__(str(file), config, layer, network=network, equal_only=True)

    @staticmethod
    def read_shape(file: Path) -> tuple[int, int]:
        """(layers, features of a frame) of a file."""
        weights = read_weights(file)
        return count_layers(weights, LAYERS, file), shape_of(weights, PROJECTION, file)[0]


class BeforeResidual(nn.Module):
    """A layer of data2vec that ends with its feed-forward part."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object) -> torch.Tensor:
        """(B, F, D) -> (B, F, D)."""
        attended, *_ = self.layer.attention(hidden, attention_mask=attention_mask)
        return self.layer.feed_forward(self.layer.layer_norm(hidden + attended))


def _split_attention(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Queries, keys and values as three matrices; biases of 0 where the file has none."""
    split = {}
    for name, values in weights.items():
        before, fused, kind = name.rpartition(".qkv.")
        if not fused:
            split[name] = values
            continue
        for part, third in zip("qkv", values.chunk(3)):
            split[f"{before}.{part}_proj.{kind}"] = third
            split.setdefault(f"{before}.{part}_proj.bias", torch.zeros(len(third)))
    return split


def _describe(weights: dict[str, torch.Tensor], file: Path):
    """The configuration that transformers would have, by the shapes of the weights."""
    from transformers import Data2VecAudioConfig

    dim = shape_of(weights, PROJECTION, file)[0]
    convolutions = [f"feature_extractor.conv_layers.{index}.conv.weight" for index in range(7)]
    positions = shape_of(weights, f"{POSITIONS}0.weight", file)
    return Data2VecAudioConfig(
        hidden_size=dim,
        num_hidden_layers=count_layers(weights, LAYERS, file),
        num_attention_heads=max(dim // HEAD_DIM, 1),
        intermediate_size=shape_of(weights, f"{LAYERS}0.feed_forward.intermediate_dense.weight", file)[0],
        conv_dim=[shape_of(weights, name, file)[0] for name in convolutions],
        conv_kernel=[shape_of(weights, name, file)[2] for name in convolutions],
        conv_bias=convolutions[0].replace("weight", "bias") in weights,
        num_conv_pos_embeddings=count_layers(weights, POSITIONS, file),
        num_conv_pos_embedding_groups=dim // positions[1],
        conv_pos_kernel_size=positions[2],
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
    )
