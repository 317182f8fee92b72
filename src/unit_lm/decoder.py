"""The causal transformer, from ``transformers``: of a shape by flags, or a text language model's first layers.

Starting from a text model is TWIST (M. Hassid et al. 2023, "Textually Pretrained Speech Language Models"): its layers
stay, its embeddings make room for units. G. Maimon, A. Elmakies and Y. Adi (2025, "Slamming: Training a Speech Language
Model on One GPU in a Day") found it the strongest start.

Axes: V token ids, C channels, K units, D features of a centroid.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, OPTConfig, PreTrainedConfig, PreTrainedModel

from core.errors import UserError
from models.unit_embedding import seed_table
from unit_lm.vocabulary import END, PAD, Vocabulary, block_range, count_tokens, symbol_units

ARCHITECTURES = ("llama", "opt")
ATTENTION = "sdpa"  # takes a mask of each row of a batch as it is
# What of a saved configuration says how to compute, not what.
NOT_THE_MODEL = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


class Shape(NamedTuple):
    """The sizes of a new transformer."""

    architecture: str = "llama"
    layers: int = 4
    width: int = 256
    heads: int = 4
    feedforward: int | None = None  # None: as is usual of the architecture


def new_config(shape: Shape, n_tokens: int, context: int) -> PreTrainedConfig:
    """The configuration of a new transformer for V = ``n_tokens`` and rows of ``context`` places."""
    if shape.width % shape.heads or (shape.width // shape.heads) % 2:
        raise UserError(f"--width {shape.width}: expected an even multiple of --heads {shape.heads}; change one")
    ids = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None}
    sizes = {"vocab_size": n_tokens, "max_position_embeddings": context, "hidden_size": shape.width}
    sizes |= {"num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "tie_word_embeddings": True}
    if shape.architecture == "opt":
        inner = {"ffn_dim": shape.feedforward or 4 * shape.width, "word_embed_proj_dim": shape.width}
        # ``add_dropout`` drops in both architectures alike.
        return OPTConfig(**sizes, **inner, **ids, dropout=0.0, attention_dropout=0.0, layerdrop=0.0)
    inner = shape.feedforward or 32 * round(shape.width * 8 / 3 / 32)
    return LlamaConfig(**sizes, **ids, intermediate_size=inner)


def build_decoder(config: PreTrainedConfig) -> PreTrainedModel:
    """The transformer with random weights, float32."""
    return AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, dtype=torch.float32)


def read_config(described: Mapping[str, object]) -> PreTrainedConfig:
    """A configuration from the plain values of ``describe_config``."""
    values = dict(described)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def describe_config(config: PreTrainedConfig) -> dict[str, object]:
    """The plain values that a configuration is made from."""
    return {name: value for name, value in config.to_dict().items() if name not in NOT_THE_MODEL}


def add_dropout(model: PreTrainedModel, dropout: float) -> None:
    """Drop a share of what the embeddings, and each layer's attention and feedforward, add; in training only.

    Hooks, so that the weights keep the names that ``transformers`` knows.
    """
    if not dropout:
        return
    body = model.get_decoder()
    parts = [model.get_input_embeddings()]
    for layer in body.layers:
        parts += [last_linear(layer.self_attn), last_linear(getattr(layer, "mlp", None) or layer)]
    for part in parts:
        part.register_forward_hook(partial(_drop, dropout))


def _drop(dropout: float, module: nn.Module, _: tuple, output: torch.Tensor) -> torch.Tensor:
    return nn.functional.dropout(output, dropout, module.training)


def last_linear(module: nn.Module) -> nn.Module:
    """The projection that a layer's attention or feedforward ends with."""
    names = ("o_proj", "out_proj", "down_proj", "fc2")
    return next(getattr(module, name) for name in names if hasattr(module, name))


def read_text_model(folder: Path, layers: int | None) -> PreTrainedModel:
    """A causal language model of ``transformers``, or the first ``layers`` of it; float32."""
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"--init {folder}: expected the folder of a text language model, found no config.json")
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION, dtype=torch.float32)
        body = model.get_decoder()
        known = len(body.layers)
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--init {folder}: expected a causal language model of transformers, found {reason}") from error
    if layers and layers > known:
        raise UserError(f"--layers {layers}: expected at most {known}, as many as {folder} has")
    body.layers = body.layers[: layers or known]
    model.config.num_hidden_layers = len(body.layers)
    return model


def renew_embeddings(model: PreTrainedModel, n_tokens: int) -> None:
    """Embeddings of V = ``n_tokens``, drawn with the mean and spread of those that were there, in place."""
    old = model.get_input_embeddings().weight.detach()
    mean, spread = old.mean(0), old.std(0)
    model.resize_token_embeddings(n_tokens, mean_resizing=False)
    for table in {model.get_input_embeddings(), model.get_output_embeddings()}:
        with torch.no_grad():
            table.weight.copy_(mean + spread * torch.randn(n_tokens, len(mean)))
    model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id = PAD, END, None
    model.get_input_embeddings().padding_idx = None


@torch.no_grad()
def seed_embeddings(model: PreTrainedModel, vocabulary: Vocabulary, centroids: Sequence[np.ndarray | None]) -> None:
    """Start the symbols of each block from (K, D) centroids: units that sound alike begin alike. None: as they are.

    A token of phase 2 starts from the mean over its units. Mean and spread of the table stay.
    """
    table = model.get_input_embeddings().weight
    mean, spread = table.mean(0), table.std()
    assert len(table) == count_tokens(vocabulary)
    for block, book in enumerate(centroids):
        if book is None:
            continue
        units = nn.Embedding(len(book), table.shape[1])
        seed_table(units, torch.from_numpy(np.asarray(book, np.float32)))
        seeded = units.weight * (spread / units.weight.std())
        symbols = block_range(vocabulary, block)
        for token, said in zip(symbols, symbol_units(vocabulary, block)):
            if said:
                table[token] = mean + seeded[said].mean(0)


@torch.no_grad()
def carry_tokens(model: PreTrainedModel, old: PreTrainedModel, before: np.ndarray, now: np.ndarray) -> None:
    """Rows ``now`` of the embeddings become the rows ``before`` of another model's, in place."""
    for get in ("get_input_embeddings", "get_output_embeddings"):
        getattr(model, get)().weight[now] = getattr(old, get)().weight[before]


def predict(
    model: nn.Module, batch_tokens: torch.Tensor, positions: torch.Tensor, attention: torch.Tensor
) -> torch.Tensor:
    """(R, L) tokens and positions, (R, 1, L, L) attention -> (R, L, V) logits, float32."""
    found = model(input_ids=batch_tokens, position_ids=positions, attention_mask=attention, use_cache=False)
    return found.logits.float()
