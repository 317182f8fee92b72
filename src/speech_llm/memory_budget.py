"""How many LLM positions a batch may hold on a device: measured on the model, not guessed from its name.

What training keeps for the way back grows with the positions. Two short passes through each part of the model say by
how many bytes; tensors are counted as autograd keeps them, so the answer depends on the model alone and not on what
else a device holds at the moment.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import torch

from models.speech_llm_model import SpeechLLMBase
from models.token_losses import LOGITS_AT_ONCE

PROBED = (16, 48)  # positions of the two passes
USED_SHARE = 0.75  # of the memory; the rest is for the libraries, for gaps between tensors, and for evaluation
BACKWARD = 1.5  # gradients on the way back come on top of what was kept
ANSWER_SHARE = 0.5  # of the positions are answers, at most: the others are prompt and audio
LOGIT_BYTES = 16  # a logit of those in memory at once: itself, its share, and a gradient of each
HEARD_SHARE = 2.0  # positions of the connector for one of the LLM, which may read letters instead
ADAM_BYTES = 12  # a trained weight: gradient and two moments in float32


def device_memory(device: torch.device) -> int:
    """Bytes of memory of a device; of the processor's, this process's share."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return whole // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def kept_bytes(model: torch.nn.Module, run: Callable[[], torch.Tensor]) -> int:
    """Bytes that autograd keeps for the way back of ``run``, the model's own weights left out."""
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept: dict[int, int] = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        found = run()  # keeps the graph, so that no storage is used twice
    del found
    return sum(kept.values())


@contextlib.contextmanager
def _without_checkpoints(model: SpeechLLMBase) -> Iterator[None]:
    """What autograd keeps is seen only where nothing is computed again."""
    layers = [module for module in model.llm.modules() if getattr(module, "gradient_checkpointing", False)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = False
    yield
    for layer, mode in zip(layers, before):
        layer.training = mode


def bytes_a_position(model: SpeechLLMBase, autocast: Callable) -> float:
    """Bytes that a training step keeps for each position of the LLM."""
    device = model.device
    embed, factor = model.llm.get_input_embeddings(), model.connector.factor
    dtype, dim = embed.weight.dtype, embed.weight.shape[1]

    def read(n: int) -> torch.Tensor:
        hidden = torch.zeros(1, n, dim, dtype=dtype, device=device, requires_grad=True)
        return getattr(model.llm, model.llm.base_model_prefix)(inputs_embeds=hidden, use_cache=False).last_hidden_state

    def write(n: int) -> torch.Tensor:
        hidden = torch.zeros(n, dim, dtype=dtype, device=device, requires_grad=True)
        return model.sum_losses(hidden, torch.zeros(n, dtype=torch.long, device=device))[0]

    def hear(n: int) -> torch.Tensor:
        shape = (1, n * factor) if model.units is not None else (1, n * factor, model.config["in_dim"])
        kind = torch.long if model.units is not None else torch.float32
        speech = model.encode_speech(
            torch.zeros(shape, dtype=kind, device=device), torch.tensor([n * factor], device=device)
        )
        return model.connector.project(speech.hidden)

    def slope(run: Callable[[int], torch.Tensor]) -> float:
        few, many = (kept_bytes(model, lambda n=n: run(n)) for n in PROBED)
        return max(0, many - few) / (PROBED[1] - PROBED[0])

    # Dropout draws numbers, which must be those of a run that was not measured.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), autocast(), _without_checkpoints(model):
        layers = slope(read)
        if model.checkpoints:
            n_layers = model.llm.config.get_text_config().num_hidden_layers
            layers = layers / n_layers + n_layers * dim * dtype.itemsize
        return layers + ANSWER_SHARE * slope(write) + HEARD_SHARE * slope(hear)


def positions_that_fit(model: SpeechLLMBase, autocast: Callable) -> int:
    """LLM positions a batch may hold, padding included, in the memory of the model's device; at least one."""
    weights = sum(value.nbytes for value in model.parameters())
    trained = sum(value.numel() for value in model.trained_parameters())
    fixed = weights + ADAM_BYTES * trained + LOGIT_BYTES * LOGITS_AT_ONCE
    free = USED_SHARE * device_memory(model.device) - fixed
    return max(1, int(free / (BACKWARD * bytes_a_position(model, autocast))))
