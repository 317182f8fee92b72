"""What the adversarial part of a step needs besides its losses."""

import logging
import math
from collections.abc import Sequence

import numpy as np

from core.frames import frames_to_samples
from training.training_state import Losses
from vocoder.losses import Features

log = logging.getLogger("oral_units")

COLLAPSED_LOSS = 0.02  # least squares of a discriminator that is never wrong


def adversarial_window(step: int, *, seed: int, crop_frames: int, discriminator_frames: int) -> slice:
    """The samples of every crop that the discriminator sees at ``step``: a place drawn from (seed, step)."""
    n_frames = min(discriminator_frames, crop_frames)
    start = int(np.random.default_rng((seed, step)).integers(0, crop_frames - n_frames + 1))
    return slice(frames_to_samples(start), frames_to_samples(start + n_frames))


def judged_crops(n_crops: int, share: float) -> slice:
    """The first crops of a batch, which are drawn at random as all are: this share of them, at least one."""
    return slice(math.ceil(share * n_crops))


def split_judgement(outputs: Features) -> tuple[Features, Features]:
    """Of originals and resyntheses judged in one pass, so that every process synchronises once: either half."""
    halves = [[features.float().chunk(2) for features in judged] for judged in outputs]
    return [[a for a, _ in judged] for judged in halves], [[b for _, b in judged] for judged in halves]


def in_float32(outputs: Features) -> Features:
    return [[features.float() for features in judged] for judged in outputs]


def warn_of_collapse(step: int, rows: Sequence[Losses]) -> None:
    """A discriminator that always wins, or does not move, teaches the generator nothing."""
    values = [row["discriminator_loss"].item() for row in rows if "discriminator_loss" in row]
    if len(values) < 10:
        return
    if max(values) < COLLAPSED_LOSS or max(values) - min(values) < COLLAPSED_LOSS / 100:
        log.warning("step %d: collapsed discriminator (loss %.4f to %.4f)", step, min(values), max(values))
