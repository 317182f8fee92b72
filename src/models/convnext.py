"""ConvNeXt blocks over frames (Liu et al. 2022, "A ConvNet for the 2020s"; in one dimension: Vocos, Siuzdak 2023)."""

import torch
from torch import nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise expansion: (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, *, kernel: int = 7, dilation: int = 1, expansion: int = 3, scale: float = 0.5):
        super().__init__()
        self.dilation, self.padding = dilation, dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=self.padding, dilation=dilation, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.contract = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x: (B, T, C); mask: (B, T, 1), 0 on padding, so that a padded batch equals its utterances one by one."""
        mixed = self.norm(self._mix(x))
        return torch.addcmul(x, self.scale, self.contract(nn.functional.gelu(self.expand(mixed)))) * mask

    def _mix(self, x: torch.Tensor) -> torch.Tensor:
        """``depthwise`` over frames, (B, T, C) -> (B, T, C).

        As images one row high, (B, C, 1, T), frames are channels-last in memory and need no transposed copies.
        """
        mixed = nn.functional.conv2d(
            x.transpose(1, 2)[:, :, None],
            self.depthwise.weight[:, :, None],
            self.depthwise.bias,
            padding=(0, self.padding),
            dilation=(1, self.dilation),
            groups=x.shape[2],
        )
        return mixed[:, :, 0].transpose(1, 2)
