"""The loss of tokens over a large vocabulary, some tokens at a time.

A thousand tokens of a vocabulary of 100,000 have 400 MB of logits, and gradients of as much: more than the layers of a
small model keep. Logits of one part are in memory at once, and are computed again on the way back.
"""

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 2**23  # 34 MB in float32


def sum_token_losses(
    project: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    n_vocabulary: int,
    smoothing: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cross-entropy in nats, tokens whose target has the largest logit), float32 scalars summed over N tokens.

    hidden: (N, E); targets: (N,) int64; project: (n, E) -> (n, n_vocabulary) logits; smoothing: of the targets, 0 to 1.
    """

    def sum_part(hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = project(hidden).float()
        nats = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
        return nats, (logits.detach().argmax(-1) == targets).sum().float()

    n_tokens = max(1, LOGITS_AT_ONCE // n_vocabulary)
    parts = [
        checkpoint(sum_part, *part, use_reentrant=False, preserve_rng_state=False)
        for part in zip(hidden.split(n_tokens), targets.split(n_tokens))
    ]
    nats, n_right = zip(*parts)
    return torch.stack(nats).sum(), torch.stack(n_right).sum()
