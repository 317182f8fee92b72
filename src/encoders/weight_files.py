"""Weights in the files of other toolkits: found in a folder, read as nothing but numbers, put under our own names."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import UserError

MODEL_KEYS = ("model", "state_dict")  # under which training checkpoints keep the model
NAMED = 3


def find_weights(path: Path, patterns: Sequence[str]) -> Path | None:
    """``path`` itself, or the one file below the folder ``path`` that matches; None where there is none.

    Raises UserError where several match.
    """
    if not path.is_dir():
        return path if path.is_file() else None
    found = sorted({file for pattern in patterns for file in path.rglob(pattern)})
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:NAMED])
        raise UserError(f"{path}: expected one file of weights, found {names}; name one of them")
    return found[0] if found else None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of a model's state, from safetensors or a torch file; they are read from disk when first used.

    A torch file is a pickle, and a pickle can run any code: it is read with ``weights_only=True``, which lets nothing
    but tensors and plain values in. UserError for anything else.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: expected weights and plain values alone, found: {reason:.200}; other pickles are never read"
        ) from error
    inner = next((content[key] for key in MODEL_KEYS if isinstance(content, Mapping) and key in content), content)
    tensors = isinstance(inner, Mapping) and {k: v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise UserError(f"{path}: expected named weights, found none; give a checkpoint of the model")
    return tensors


def _load_torch(path: Path) -> object:
    # Files of before torch 1.6 are no archives, and cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def rename_weights(weights: Mapping[str, torch.Tensor], names: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """The weights under the names that the (pattern, replacement) pairs give, one pair after another."""
    renamed = {}
    for name, values in weights.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        renamed[name] = values
    return renamed


def count_layers(weights: Mapping[str, torch.Tensor], prefix: str, path: Path) -> int:
    """How many numbered layers lie below ``prefix``, as in ``encoder.layers.`` 0 to 23; UserError for none."""
    found = (re.match(rf"{re.escape(prefix)}(\d+)\.", name) for name in weights)
    numbers = {match.group(1) for match in found if match}
    if not numbers:
        raise UserError(f"{path}: expected weights {prefix}0 and so on, found none; this is a file of another model")
    return len(numbers)


def shape_of(weights: Mapping[str, torch.Tensor], name: str, path: Path) -> torch.Size:
    """The shape of one weight; UserError where the file has none of that name."""
    if name not in weights:
        raise UserError(f"{path}: expected the weight {name}, found none; this is a file of another model")
    return weights[name].shape


def fill_network(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """Give a network made on the meta device its weights as float32; UserError for what is missing or does not fit."""
    expected = network.state_dict()
    wrong = [name for name, values in expected.items() if name not in weights or weights[name].shape != values.shape]
    if wrong:
        raise UserError(
            f"{path}: expected {len(expected)} weights, {len(wrong)} missing or of another shape "
            f"({', '.join(wrong[:NAMED])}); this is a file of another model"
        )
    network.load_state_dict({name: weights[name].float() for name in expected}, assign=True)
    return network
