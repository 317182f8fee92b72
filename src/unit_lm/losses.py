"""Nats of the next token, of those that may follow.

Axes: R rows, L places, V token ids.
"""

import torch
from torch import nn

from unit_lm.batches import IGNORED, PackedBatch, attention_inside
from unit_lm.decoder import predict


def token_nats(model: nn.Module, batch: PackedBatch, allowed: torch.Tensor) -> torch.Tensor:
    """(R, L) float32 nats of each target; 0 where there is none.

    allowed: (languages, V) bool, what may follow in each language; nothing else gets a probability.
    """
    logits = predict(model, batch.tokens, batch.positions, attention_inside(batch.segments))
    logits = logits.masked_fill(~allowed[batch.rows], -torch.inf)
    flat = nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return flat.view_as(batch.targets)
