"""The models of a vocoder's training: how they begin, and how a checkpoint keeps them."""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from accelerate import Accelerator

from models.speaker_encoder import SPEAKER_DIM
from training.checkpoints import restore_random_state
from vocoder.generators import Vocoder
from vocoder.train_step import Trained, load_optimizer
from vocoder.training_flags import choose_condition, chosen_sizes


class Models(NamedTuple):
    """Training moves the generator; its moving average is what is validated, saved as the voice, and listened to."""

    version: str  # of the generator: v1 to v4
    sizes: dict[str, object]  # its constructor's arguments
    speakers: list[str]
    speaker_vectors: torch.Tensor | None
    generator: Trained
    generator_ema: nn.Module  # the moving average of its weights
    discriminator: Trained | None
    hearing: nn.Module | None = None  # a frozen recogniser; no checkpoint holds it


def choose_sizes(args: argparse.Namespace, units: dict[str, object], n_speakers: int) -> dict[str, object]:
    """The generator's constructor arguments, stored in the checkpoint; ``units``: phase 1's derived values."""
    known = {"n_speakers": 0, "speaker_dim": SPEAKER_DIM} if args.speaker_vectors else {"n_speakers": n_speakers}
    sizes = {"n_units": units["n_units"], "n_streams": units["n_streams"]} | known
    return sizes | choose_condition(args) | chosen_sizes(args)


def describe_models(models: Models) -> dict[str, object]:
    """What a checkpoint says of the generator besides its weights."""
    return {"version": models.version, "sizes": models.sizes, "speakers": models.speakers}


def model_state(accelerator: Accelerator, models: Models) -> dict[str, object]:
    """All weights, averages and optimizers, for a checkpoint."""
    generator, discriminator = models.generator, models.discriminator
    state = {
        "generator": generator.model.state_dict(),
        "generator_ema": models.generator_ema.state_dict(),
        "optimizer_generator": generator.optimizer.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
    }
    if discriminator is not None:
        state |= {
            "discriminator": discriminator.model.state_dict(),
            "optimizer_discriminator": discriminator.optimizer.state_dict(),
        }
    if models.speaker_vectors is not None:
        state["speaker_vectors"] = models.speaker_vectors
    return describe_models(models) | state


def load_models(accelerator: Accelerator, models: Models, state: dict[str, object], checkpoint: Path) -> None:
    """Continue from the ``state`` of ``checkpoint``: weights, averages, optimizers and random state."""
    models.generator.model.load_state_dict(state["generator"])
    models.generator_ema.load_state_dict(state["generator_ema"])
    load_optimizer(models.generator, state["optimizer_generator"], checkpoint)
    if models.discriminator is not None and "discriminator" in state:
        models.discriminator.model.load_state_dict(state["discriminator"])
        load_optimizer(models.discriminator, state["optimizer_discriminator"], checkpoint)
    if accelerator.scaler and state.get("scaler"):
        accelerator.scaler.load_state_dict(state["scaler"])
    restore_random_state(state["random_state"])


def averaged_voice(models: Models) -> Vocoder:
    """The moving average as a voice that speaks."""
    generator = models.generator_ema
    device = next(generator.parameters()).device
    return Vocoder(generator, models.speakers, device, speaker_vectors=models.speaker_vectors)
