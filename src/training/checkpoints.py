"""Checkpoints that hold everything, and the moving average of the weights."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.files import write_atomically
from core.locks import lock_of

LARGEST_EMA_DECAY = 0.999
# Embedding tables of generators and prosody predictors, as checkpoints and voices until November 2026 name them.
OLD_NAMES = {"units": "unit_embedding", "pitch": "pitch_embedding", "speakers": "speaker_embedding"}
RENAMED_MODELS = ("generator", "generator_ema", "predictor", "predictor_ema")  # the parts of a checkpoint they are in


def ema_decay(step: int, largest: float = LARGEST_EMA_DECAY) -> float:
    """min(largest, (1 + s) / (10 + s)): follows quickly at first, then averages over a thousand steps."""
    return min(largest, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, step: int, largest: float = LARGEST_EMA_DECAY) -> None:
    """Move ``average`` towards ``model``, in place; with ``largest`` 0 it is the model itself."""
    weight = 1.0 - ema_decay(step, largest)
    averages, values = list(average.parameters()), [value.detach() for value in model.parameters()]
    torch._foreach_lerp_(averages, values, weight)
    for buffer, value in zip(average.buffers(), model.buffers()):
        buffer.copy_(value)


def random_state() -> dict[str, object]:
    """The state of every random generator a library might draw from."""
    state = {"torch": torch.get_rng_state(), "python": list(random.getstate()[1]), "numpy": _numpy_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _numpy_state() -> list:
    _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss]


def restore_random_state(state: Mapping[str, object]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate((3, tuple(state["python"]), None))
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_step(*key: int) -> None:
    """Dropout and other noise of a step as a function of ``key``: the seed, the step and, of several, the process.

    So a resumed run draws what it would have drawn, in every process, and no two processes drop the same channels.
    """
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write plain tensors, numbers and strings, atomically."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def rename_old_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A generator's or prosody predictor's weights by their names of today, in their order."""
    parts = [name.partition(".") for name in weights]
    names = [OLD_NAMES.get(table, table) + dot + rest for table, dot, rest in parts]
    return dict(zip(names, weights.values()))


def load_checkpoint(path: Path, *, command: str) -> dict[str, object]:
    """Read a checkpoint on the CPU without running code from it.

    command: what trains a model of this kind, as a person types it. The UserError for a missing file names it, and the
    one for a damaged file says what to do instead. Weights that were saved under old names come back under those of
    today.
    """
    if not Path(path).is_file():
        raise UserError(say_no_checkpoint(Path(path), command))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        message = f"{path}: expected a checkpoint of this project, found something unreadable ({error})"
        raise UserError(message.splitlines()[0] + "; delete it and resume from the other one") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: expected a checkpoint of this project, found a {type(state).__name__}; delete it")
    return state | {name: rename_old_weights(state[name]) for name in RENAMED_MODELS if name in state}


def say_no_checkpoint(path: Path, command: str) -> str:
    """Why there is no file ``path`` of an experiment's folder of checkpoints, and what to do about it."""
    exp = path.parent.parent
    if not (exp / "config.json").is_file() or (exp / "finished.json").is_file() or any(path.parent.glob("*.pt")):
        return f"{path}: expected a checkpoint, found none; run: {command}"
    if lock_of(exp).exists():
        return f"{path}: no checkpoint yet, {exp.name} is still training; wait for its first one (train.log tells)"
    return f"{path}: no checkpoint yet, {exp.name} stopped before its first one; go on with: {command}"


def build_saved(
    path: Path, build: Callable[[], nn.Module], weights: Mapping[str, torch.Tensor] | None, *, kind: str
) -> nn.Module:
    """The model of ``build`` with its saved ``weights``. UserError, naming ``path``, where they do not fit together.

    kind: what is expected there, in words. A constructor raises TypeError for sizes of another model, and KeyError for
    a version that it does not know.
    """
    try:
        model = build()
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: expected {kind}, found another: {reason:.200}; is it of a later version?") from error
    return model


def require_keys(path: Path, state: Mapping[str, object], *names: str) -> None:
    """UserError where a checkpoint, or a config.json, lacks one of ``names``."""
    for name in names:
        if state.get(name) is None:
            raise UserError(
                f"{path}: expected {name}, found {', '.join(sorted(state)[:8]) or 'nothing'}; copy it again"
            )
