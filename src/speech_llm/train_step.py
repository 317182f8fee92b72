"""One step of a speech LLM's training: its losses over all processes, its gradient, its update."""

import contextlib
from typing import NamedTuple

import torch

from accelerate import Accelerator

from models.speech_llm_model import LossSums, SpeechBatch, SpeechLLMBase


class Learner(NamedTuple):
    model: SpeechLLMBase
    wrapped: torch.nn.Module  # the model as Accelerate calls it: autocast, and gradients of all processes
    optimizer: torch.optim.Optimizer


def build_optimizer(
    model: SpeechLLMBase, *, lr: float, weight_decay: float, top_share: float = 1.0
) -> torch.optim.AdamW:
    """Groups with their own peak: connector and LoRA, matrices with weight decay and vectors without.

    top_share: of the connector's rate, for layers that were the encoder's.
    """
    tops = model.connector.encoder_parts() if top_share != 1 else ()
    groups: dict[tuple[bool, float, bool], list[torch.nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            assert value.dtype == torch.float32, f"{name}: trained weights stay float32"
            share = top_share if name.startswith(tuple(f"connector.{part}." for part in tops)) else 1.0
            groups.setdefault(("lora_" in name, share, value.dim() > 1), []).append(value)
    return torch.optim.AdamW(
        [
            {"params": values, "weight_decay": weight_decay if matrix else 0.0, "lora": lora, "share": share}
            for (lora, share, matrix), values in groups.items()
        ],
        lr=lr,
        betas=(0.9, 0.98),
    )


def count_targets(accelerator: Accelerator, batches: list[SpeechBatch]) -> tuple[float, float]:
    """Answer tokens and characters of a step over all processes, each at least 1."""
    counts = torch.tensor(
        [[sum(map(len, batch.answers)), sum(map(len, batch.labels))] for batch in batches], dtype=torch.float64
    ).sum(0)
    if accelerator.num_processes > 1:
        counts = accelerator.reduce(counts.float().to(accelerator.device), "sum").cpu()
    tokens, characters = counts.tolist()
    return max(1.0, tokens), max(1.0, characters)


def training_losses(
    accelerator: Accelerator,
    model: torch.nn.Module,
    batches: list[SpeechBatch],
    *,
    ctc_only: bool,
    ctc_weight: float,
    consistency: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Backward through a step's batches; returns the means over all processes: loss_nat, token_accuracy, ctc_nat.

    consistency: weight of what two views of a batch differ by.
    """
    n_tokens, n_characters = count_targets(accelerator, batches)
    parts = []
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            found = model(batch, ctc_only=ctc_only)
            loss = 0.0 if found.ce is None else found.ce / n_tokens
            if found.ctc is not None:
                loss = loss + (1.0 if ctc_only else ctc_weight) * found.ctc / n_characters
            if found.difference is not None:
                loss = loss + consistency * found.difference / n_characters
            # Processes average their gradients; what is wanted is the sum.
            accelerator.backward(loss * accelerator.num_processes)
        parts.append([None if value is None else value.detach().float() for value in found])
    sums = LossSums(*(None if values[0] is None else sum(values) for values in zip(*parts)))
    means = {}
    if sums.ce is not None:
        means |= {"train_loss_nat": sums.ce / n_tokens, "train_token_accuracy": sums.n_correct / n_tokens}
    if sums.ctc is not None:
        means["train_ctc_nat"] = sums.ctc / n_characters
    if sums.difference is not None:
        means["train_difference_nat"] = sums.difference / n_characters
    if accelerator.num_processes > 1:
        means = {name: accelerator.reduce(value, "sum") for name, value in means.items()}
    return means


def update_weights(
    accelerator: Accelerator,
    learner: Learner,
    batches: list[SpeechBatch],
    *,
    ctc_only: bool,
    ctc_weight: float,
    clip: float,
    consistency: float = 0.0,
) -> dict[str, torch.Tensor]:
    """One step of the optimizer: its losses, and the norm of the gradient before clipping, on the CPU."""
    weights = {"ctc_weight": ctc_weight, "consistency": consistency}
    losses = training_losses(accelerator, learner.wrapped, batches, ctc_only=ctc_only, **weights)
    trained = [value for group in learner.optimizer.param_groups for value in group["params"]]
    losses["gradient_norm"] = torch.as_tensor(accelerator.clip_grad_norm_(trained, clip)).detach()
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    return {name: value.cpu() for name, value in losses.items()}
