"""What a training of the unit language model updates, and one update."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from transformers import PreTrainedModel

from training.checkpoints import restore_random_state, update_ema
from training.processes import update_weights
from training.training_state import Losses
from unit_lm.batches import PackedBatch
from unit_lm.losses import token_nats

BETAS = (0.9, 0.98)
KEPT = ("model", "model_ema", "optimizer")  # in a checkpoint


class Learner(NamedTuple):
    model: PreTrainedModel  # itself: its weights are saved
    wrapped: nn.Module  # as it is called: one model over all processes
    model_ema: PreTrainedModel  # the moving average of its weights, which is validated
    optimizer: AcceleratedOptimizer


def prepare_learner(accelerator: Accelerator, model: PreTrainedModel, *, lr: float, weight_decay: float) -> Learner:
    """The model on the accelerator's device, its average and its optimizer; vectors do not decay."""
    model_ema = copy.deepcopy(model).eval().requires_grad_(False).to(accelerator.device)
    groups = [[value for value in model.parameters() if (value.dim() > 1) == matrix] for matrix in (True, False)]
    decays = (weight_decay, 0.0)
    optimizer = torch.optim.AdamW(
        [{"params": values, "weight_decay": decay} for values, decay in zip(groups, decays) if values],
        lr=lr,
        betas=BETAS,
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    return Learner(model, wrapped, model_ema, optimizer)


def learner_state(learner: Learner) -> dict[str, object]:
    """Weights, average and optimizer, for a checkpoint."""
    return {name: getattr(learner, name).state_dict() for name in KEPT}


def load_learner(learner: Learner, state: dict[str, object]) -> None:
    """Continue from a checkpoint's weights, average and optimizer, and from its random state."""
    for name in KEPT:
        getattr(learner, name).load_state_dict(state[name])
    restore_random_state(state["random_state"])


def update(
    accelerator: Accelerator,
    learner: Learner,
    batch: PackedBatch,
    allowed: torch.Tensor,
    *,
    n_targets: int,
    clip: float,
    step: int,
    ema: float,
) -> Losses:
    """One update of the weights and their average; returns its losses, over all processes.

    n_targets: of the step, over all processes, so that every token weighs the same however rows are shared out.
    """
    learner.wrapped.train()
    world = accelerator.num_processes
    # Processes average their gradients; what is wanted is the sum.
    loss = token_nats(learner.wrapped, batch, allowed).sum() * (world / max(1, n_targets))
    losses = update_weights(accelerator, learner.model.parameters(), learner.optimizer, loss, clip)
    update_ema(learner.model_ema, learner.model, step, ema)
    mean = loss.detach() if world == 1 else accelerator.reduce(loss.detach(), "mean")
    return {"train_token_nat": mean} | losses
