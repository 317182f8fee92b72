"""Omnilingual ASR's wav2vec 2.0 encoders (Omnilingual ASR Team, Meta, 2025) from fairseq2's checkpoint files.

They are XLS-R's architecture in four sizes; the file's weights are given the names that transformers has for them.
A port to transformers is a plain folder of the family wav2vec2 and needs none of this.
"""

from pathlib import Path

import torch

from encoders.convolutional import ConvolutionalEncoder, end_at_layer
from encoders.weight_files import count_layers, fill_network, read_weights, rename_weights, shape_of

N_HEADS = 16  # of each size, 300M to 7B; weights do not show it
LAYERS = "encoder.layers."
PROJECTION = "feature_projection.projection.weight"
# (fairseq2's names, those of transformers), one after another.
NAMES = (
    (r"^encoder_frontend\.feature_extractor\.layers\.", "feature_extractor.conv_layers."),
    (r"^encoder_frontend\.post_extract_layer_norm\.", "feature_projection.layer_norm."),
    (r"^encoder_frontend\.model_dim_proj\.", "feature_projection.projection."),
    (r"^encoder_frontend\.pos_encoder\.", "encoder.pos_conv_embed."),
    (r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0"),
    (r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1"),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.ffn_layer_norm\.", ".final_layer_norm."),
    (r"\.self_attn\.output_proj\.", ".attention.out_proj."),
    (r"\.self_attn\.", ".attention."),
    (r"\.ffn\.inner_proj\.", ".feed_forward.intermediate_dense."),
    (r"\.ffn\.output_proj\.", ".feed_forward.output_dense."),
)


class OmnilingualEncoder(ConvolutionalEncoder):
    """Like XLS-R: layer norms in the convolutions and before each part of a layer; padding changes nothing."""

    options = ("file", "layer")
    weight_files = ("*.pt", "*.safetensors")

    def __init__(self, *, file: Path, layer: int) -> None:
        from transformers import Wav2Vec2Model

        weights = rename_weights(read_weights(file), NAMES)
        config = _describe(weights, file)
        n_layers, config.num_hidden_layers = config.num_hidden_layers, layer
        with torch.device("meta"):
            network = Wav2Vec2Model(config)
        fill_network(network, weights, file)
        super().__init__(str(file), config, layer, network=end_at_layer(network, config, layer, n_layers))

    @staticmethod
    def read_shape(file: Path) -> tuple[int, int]:
        """(layers, features of a frame) of a file."""
        weights = rename_weights(read_weights(file), NAMES)
        return count_layers(weights, LAYERS, file), shape_of(weights, PROJECTION, file)[0]


def _describe(weights: dict[str, torch.Tensor], file: Path):
    """The configuration that transformers would have, by the shapes of the weights."""
    from transformers import Wav2Vec2Config

    dim = shape_of(weights, PROJECTION, file)[0]
    convolutions = [f"feature_extractor.conv_layers.{index}.conv.weight" for index in range(7)]
    positions = shape_of(weights, "encoder.pos_conv_embed.conv.parametrizations.weight.original1", file)
    return Wav2Vec2Config(
        hidden_size=dim,
        num_hidden_layers=count_layers(weights, LAYERS, file),
        num_attention_heads=N_HEADS,
        intermediate_size=shape_of(weights, f"{LAYERS}0.feed_forward.intermediate_dense.weight", file)[0],
        conv_dim=[shape_of(weights, name, file)[0] for name in convolutions],
        conv_kernel=[shape_of(weights, name, file)[2] for name in convolutions],
        conv_bias=convolutions[0].replace("weight", "bias") in weights,
        num_conv_pos_embeddings=positions[2],
        num_conv_pos_embedding_groups=dim // positions[1],
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
    )
