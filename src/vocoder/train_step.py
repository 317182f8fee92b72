"""One step of a vocoder's training: the update of the discriminator, then the update of the generator.

After HiFi-GAN (Kong et al. 2020, https://arxiv.org/abs/2010.05646). Axes: B batch, S samples.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from core.errors import UserError
from training.processes import average, update_weights
from training.training_state import Losses
from vocoder.adversarial_setup import in_float32, split_judgement
from vocoder.losses import adversarial_loss, discriminator_loss, feature_matching_loss, mel_loss

UNIT_TABLES = "unit_embedding."
TIMES = "times"  # key of an optimizer's group: what multiplies the rate there
BETAS = (0.8, 0.99)  # of AdamW, as HiFi-GAN's: a short memory of the gradient suits a loss of many resolutions


class Trained(NamedTuple):
    """A model that is trained, with what updates it."""

    model: nn.Module  # itself: its weights are saved
    wrapped: nn.Module  # as it is called: one model over all processes, perhaps compiled
    optimizer: AcceleratedOptimizer
    peak_lr: float


def prepare_training(
    accelerator: Accelerator,
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    unit_lr: float = 1.0,
    compiled: bool = False,
) -> Trained:
    """The model on the accelerator's device, with its optimizer; ``lr`` is the peak of the learning rate.

    unit_lr: what multiplies it for the unit embeddings (``group_parameters``).
    """
    groups = group_parameters(model, unit_lr)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS, weight_decay=weight_decay)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    return Trained(model, torch.compile(wrapped) if compiled else wrapped, optimizer, lr)


def group_parameters(model: nn.Module, unit_lr: float) -> list[dict[str, object]]:
    """AdamW's groups: the unit embeddings apart, where they learn at ``unit_lr`` times the rate of all else.

    Embeddings are numbers around 1, most other weights are some hundredths, and a step of Adam is as long for both: at
    one rate, a short training leaves the embeddings nearly where they began (docs/results/base_voice.md).
    """
    tables = [weight for name, weight in model.named_parameters() if name.startswith(UNIT_TABLES)]
    if unit_lr == 1 or not tables:
        return [{"params": list(model.parameters())}]
    others = [weight for name, weight in model.named_parameters() if not name.startswith(UNIT_TABLES)]
    return [{"params": others}, {"params": tables, TIMES: unit_lr}]


def set_learning_rate(trained: Trained, lr: float) -> None:
    """The learning rate of the next update; where it is a tensor, a recorded update reads it there."""
    for group in trained.optimizer.param_groups:
        rate = lr * group.get(TIMES, 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def load_optimizer(trained: Trained, state: dict[str, object], source: Path) -> None:
    """Continue with the optimizer's ``state`` of the checkpoint ``source``; UserError where its groups are others."""
    found, wanted = (len(groups) for groups in (state["param_groups"], trained.optimizer.param_groups))
    if found != wanted:
        raise UserError(
            f"{source}: expected unit embeddings {'with' if wanted > 1 else 'without'} a rate of their own, "
            f"found the other; give the --unit_lr that it was trained with (1: none of their own)"
        )
    trained.optimizer.load_state_dict(state)
    for group in trained.optimizer.param_groups:  # as of any device: a recorded run kept them on its GPU
        group["capturable"], group["lr"] = False, float(group["lr"])


def discriminator_step(
    accelerator: Accelerator,
    discriminator: Trained,
    original: torch.Tensor,
    resynthesis: torch.Tensor,
    *,
    clip: float,
) -> Losses:
    """Update the discriminator to tell recordings (B, S) from what the generator makes of them (B, S)."""
    with accelerator.autocast():
        judged = torch.cat([original, resynthesis.detach()])
        of_originals, of_resyntheses = split_judgement(discriminator.wrapped(judged))
    loss_discriminator = discriminator_loss(of_originals, of_resyntheses)
    parameters = discriminator.wrapped.parameters()
    update_weights(accelerator, parameters, discriminator.optimizer, loss_discriminator, clip)
    return {"discriminator_loss": loss_discriminator}


def generator_step(
    accelerator: Accelerator,
    generator: Trained,
    original: torch.Tensor,
    resynthesis: torch.Tensor,
    *,
    mel_windows: Mapping[int, int],
    clip: float,
    discriminator: nn.Module | None = None,
    seen: slice | tuple[slice, slice | torch.Tensor] = slice(None),
    mel_weight: float = 1.0,
    feature_weight: float = 0.0,
    heard: torch.Tensor | None = None,
    hearing_weight: float = 0.0,
) -> Losses:
    """Update the generator on what it made (B, S) of recordings (B, S).

    By the distance of their log-mel spectrograms alone or, with a discriminator, also by what that says of the
    crops and samples that it has ``seen``, and by how differently they are ``heard`` (``hearing_loss``). The
    discriminator is left as it is.
    """
    losses: Losses = {}
    loss_generator_mel = mel_loss(resynthesis, original, mel_windows)
    loss_generator = loss_generator_mel
    if discriminator is not None:
        loss_generator_adversarial, loss_generator_features = judge_resynthesis(
            accelerator, discriminator, original[seen], resynthesis[seen]
        )
        loss_generator = (
            loss_generator_adversarial + feature_weight * loss_generator_features + mel_weight * loss_generator_mel
        )
        losses = {"adversarial_loss": loss_generator_adversarial, "feature_loss": loss_generator_features}
    if heard is not None:
        loss_generator = loss_generator + hearing_weight * heard
        losses["hearing_loss"] = heard
    parameters = generator.wrapped.parameters()
    gradient_norm = update_weights(accelerator, parameters, generator.optimizer, loss_generator, clip)
    return losses | {"train_mel_nat": loss_generator_mel} | gradient_norm


def judge_resynthesis(
    accelerator: Accelerator, discriminator: nn.Module, original: torch.Tensor, resynthesis: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The adversarial loss and the feature matching loss of the generator; no gradient reaches the discriminator."""
    discriminator.requires_grad_(False)
    with accelerator.autocast():
        with torch.no_grad():
            of_originals = in_float32(discriminator(original))
        of_resyntheses = in_float32(discriminator(resynthesis))
    discriminator.requires_grad_(True)
    return (
        adversarial_loss(of_resyntheses),
        feature_matching_loss(of_originals, of_resyntheses, partial(average, accelerator)),
    )
