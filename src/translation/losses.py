"""The losses of a translator.

Axes: B pairs, T tokens, V token ids, C channels.
"""

import torch
from torch import nn

from models.translator import LETTERS_A_STATE
from translation.examples import BLANK
from unit_lm.batches import IGNORED


def target_nats(logits: torch.Tensor, targets: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """(B, T, V) logits, (B, T) targets, (V,) bool what may be said -> (B, T) nats; 0 where there is no target."""
    logits = logits.masked_fill(~allowed, -torch.inf)
    nats = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return nats


def contrast_nats(
    source: torch.Tensor, target: torch.Tensor, sharpness: torch.Tensor, prompts: torch.Tensor
) -> torch.Tensor:
    """Mean nats by which each source misses its own target among (B, C), and each target its source: InfoNCE.

    prompts: (B,) numbers; what says the same is no wrong answer.
    """
    scores = sharpness * source @ target.T
    same = (prompts[:, None] == prompts[None]) & ~torch.eye(len(prompts), dtype=torch.bool, device=prompts.device)
    scores = scores.masked_fill(same, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    return (nn.functional.cross_entropy(scores, own) + nn.functional.cross_entropy(scores.T, own)) / 2


def letter_nats(letters: torch.Tensor, seen: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """(B, 4 S, letters) scores, (B, S) places seen, (B, N) wanted letters -> (B,) nats by CTC; 0 where none fits."""
    if not wanted.shape[1]:
        return letters.new_zeros(len(letters))
    lengths, counts = seen.sum(1) * LETTERS_A_STATE, (wanted != BLANK).sum(1)
    found = nn.functional.ctc_loss(
        letters.log_softmax(-1).transpose(0, 1), wanted, lengths, counts, BLANK, reduction="none", zero_infinity=True
    )
    return torch.where(counts > 0, found, 0.0)
