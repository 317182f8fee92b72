"""A small network that takes disturbed features to those of the clean recording."""

import torch
from torch import nn

from models.convnext import ConvNeXtBlock

GATE_CHANNELS = 32
LOW_SHARE = 0.1  # of an utterance's frames: its quietest ones say what the noise is


class FeatureDenoiser(nn.Module):
    """Features of an utterance, plus a correction: (B, F, D) -> (B, F, D). It sees 30 frames on either side.

    It begins as the identity: the correction's last layer is 0. Beside each frame stand the utterance's mean, and the
    value that a tenth of its frames lie below, which tell the noise and the room. From these two alone, a gate says how
    much of the correction the utterance gets, so that clean ones can stay as they are.
    """

    def __init__(self, dim: int, *, channels: int = 96, dilations: tuple[int, ...] = (1, 3, 6), expansion: int = 2):
        super().__init__()
        self.enter = nn.Linear(3 * dim, channels)
        self.gate = nn.Sequential(
            nn.Linear(2 * dim, GATE_CHANNELS), nn.GELU(), nn.Linear(GATE_CHANNELS, 1), nn.Sigmoid()
        )
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, dilation=dilation, expansion=expansion) for dilation in dilations
        )
        self.norm = nn.LayerNorm(channels)
        self.leave = nn.Linear(channels, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: torch.Tensor, surroundings: torch.Tensor) -> torch.Tensor:
        """(B, F, D) features and (B, 2 D) ``describe_surroundings`` of whole utterances -> (B, F, D)."""
        beside = surroundings[:, None].expand(-1, features.shape[1], -1)
        hidden = self.enter(torch.cat([features, beside], dim=2))
        mask = torch.ones_like(hidden[:, :, :1])
        for block in self.blocks:
            hidden = block(hidden, mask)
        return features + self.gate(surroundings)[:, None] * self.leave(self.norm(hidden))


def describe_surroundings(features: torch.Tensor) -> torch.Tensor:
    """(F, D) of a whole utterance, F ≥ 1 -> (2 D,): its mean, and what a tenth of its frames lie below."""
    return torch.cat([features.mean(dim=0), features.kthvalue(1 + int(LOW_SHARE * (len(features) - 1)), dim=0).values])
