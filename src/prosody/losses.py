"""What the prosody predictor is trained on: durations, voicing, F0 and its movement.

Axes: B batch, U units, F frames (50 Hz).
"""

import torch
from torch.nn import functional

from models.prosody_predictor import duration_classes
from prosody.batches import ProsodyBatch
from training.training_state import Losses


def prosody_losses(outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch: ProsodyBatch) -> Losses:
    """What the predictor's forward pass costs, each a mean over what it is defined on.

    - ``duration_nat``: cross-entropy of the duration classes, over units
    - ``voicing_nat``: binary cross-entropy, over frames
    - ``f0_variance``: squared error of the normalised log F0 over voiced frames; 1 is a constant at the mean
    - ``f0_slope_variance``: the same of its change from frame to frame, where both are voiced
    """
    duration_logits, voicing_logits, log_f0 = outputs
    present = batch.units >= 0
    pairs = batch.voiced[:, 1:] * batch.voiced[:, :-1]
    slope_error = log_f0.diff(dim=1) - batch.log_f0.diff(dim=1)
    voicing = functional.binary_cross_entropy_with_logits(voicing_logits, batch.voiced, reduction="none")
    return {
        "duration_nat": functional.cross_entropy(duration_logits[present], duration_classes(batch.durations[present])),
        "voicing_nat": (voicing * batch.mask).sum() / batch.mask.sum(),
        "f0_variance": ((log_f0 - batch.log_f0).square() * batch.voiced).sum() / batch.voiced.sum().clamp_min(1),
        "f0_slope_variance": (slope_error.square() * pairs).sum() / pairs.sum().clamp_min(1),
    }


def add_total(losses: Losses, *, f0_weight: float, slope_weight: float) -> Losses:
    """The losses and their weighted sum ``loss``, which is what training lowers."""
    f0 = losses["f0_variance"] + slope_weight * losses["f0_slope_variance"]
    return losses | {"loss": losses["duration_nat"] + losses["voicing_nat"] + f0_weight * f0}
