"""One update of a translator, alike over any number of processes."""

from typing import NamedTuple

import torch

from accelerate import Accelerator

from training.checkpoints import update_ema
from training.processes import update_weights
from training.training_state import Losses
from translation.examples import PairBatch
from translation.losses import contrast_nats, letter_nats, target_nats
from unit_lm.train_step import Learner


class Weights(NamedTuple):
    """What the losses count."""

    token: float  # nats of the target behind its source
    alone: float  # nats of the target without a source
    contrast: float  # nats by which source and target miss each other
    text: float  # nats of the source's letters


class Totals(NamedTuple):
    """Of a step, over all processes: so that every token weighs the same however pairs are shared out."""

    targets: int
    letters: int


def share_about(accelerator: Accelerator, own: torch.Tensor) -> torch.Tensor:
    """(B, …) of this process among those of all, in order; gradients go to its own, and no further."""
    if accelerator.num_processes == 1:
        return own
    parts = list(accelerator.gather(own.detach()).chunk(accelerator.num_processes))
    parts[accelerator.process_index] = own
    return torch.cat(parts)


def share_gradient(accelerator: Accelerator, value: torch.Tensor) -> torch.Tensor:
    """``value`` with an equal part of its gradient in each process, where each computes the whole loss of it."""
    known = value.detach()
    return known + (value - known) / accelerator.num_processes


def update(
    accelerator: Accelerator,
    learner: Learner,
    batch: PairBatch,
    allowed: torch.Tensor,
    *,
    totals: Totals,
    weights: Weights,
    clip: float,
    step: int,
    ema: float,
) -> Losses:
    """One update of the weights and their average; returns its losses, over all processes.

    allowed: (V,) bool, what may be said.
    """
    learner.wrapped.train()
    said = learner.wrapped(batch.source, batch.heard, batch.tokens)
    found = {
        name: target_nats(logits, batch.targets, allowed).sum() / max(1, totals.targets)
        for name, logits in (("train_token_nat", said.logits), ("train_alone_nat", said.alone))
        if logits.numel()
    }
    if said.letters.numel():
        spelled = letter_nats(said.letters, batch.source.seen, batch.letters)
        found["train_letter_nat"] = spelled.sum() / max(1, totals.letters)
    source, target, prompts = (share_about(accelerator, own) for own in (said.source, said.target, batch.prompts))
    contrast = contrast_nats(source, target, share_gradient(accelerator, said.sharpness), prompts)
    counted = {"train_token_nat": weights.token, "train_alone_nat": weights.alone, "train_letter_nat": weights.text}
    loss = weights.contrast * contrast + sum(counted[name] * value for name, value in found.items())
    # Processes average their gradients; what is wanted is the sum. All hold the whole contrast, with own gradients.
    loss = accelerator.num_processes * loss
    losses = update_weights(accelerator, learner.model.parameters(), learner.optimizer, loss, clip)
    update_ema(learner.model_ema, learner.model, step, ema)
    sums = {name: value.detach() for name, value in found.items()}
    if accelerator.num_processes > 1:
        sums = {name: accelerator.reduce(value, "sum") for name, value in sums.items()}
    return sums | {"train_contrast_nat": contrast.detach()} | losses
