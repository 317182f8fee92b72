"""The HiFi-GAN trunk (Kong et al. 2020) as published for units (Polyak et al. 2021), 5 · 4 · 4 · 2 · 2 = 320."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

UPSAMPLE_RATES = (5, 4, 4, 2, 2)
UPSAMPLE_KERNELS = (11, 8, 8, 4, 4)
SLOPE = 0.1


class ResidualBlock(nn.Module):
    """Dilated convolutions with short-cuts: (B, C, S) -> (B, C, S)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.dilated = nn.ModuleList(_conv(channels, channels, kernel, dilation) for dilation in dilations)
        self.plain = nn.ModuleList(_conv(channels, channels, kernel, 1) for _ in dilations)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for dilated, plain in zip(self.dilated, self.plain):
            inner = dilated(F.leaky_relu(x, SLOPE) * mask)
            x = x + plain(F.leaky_relu(inner, SLOPE) * mask)
        return x


class HifiganTrunk(nn.Module):
    """Features at the frame rate to a waveform of exactly 320 samples a frame: (B, C, F) -> (B, 320 F)."""

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 512,
        kernels: tuple[int, ...] = (3, 7, 11),
        dilations: tuple[int, ...] = (1, 3, 5),
    ):
        super().__init__()
        self.first = _conv(in_channels, channels, 7, 1)
        self.upsamplers, self.stages = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(UPSAMPLE_RATES, UPSAMPLE_KERNELS):
            # (T - 1) rate - 2 (kernel - rate) / 2 + kernel = T rate: no sample too many.
            padding = (kernel - rate) // 2
            upsampler = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding)
            nn.init.normal_(upsampler.weight, std=0.01)
            self.upsamplers.append(weight_norm(upsampler))
            channels //= 2
            self.stages.append(nn.ModuleList(ResidualBlock(channels, k, dilations) for k in kernels))
        self.last = _conv(channels, 1, 7, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """mask: (B, 1, F), 0 on padding, so that a padded batch equals its utterances one by one."""
        x = self.first(x * mask)
        for upsampler, blocks, rate in zip(self.upsamplers, self.stages, UPSAMPLE_RATES):
            x = upsampler(F.leaky_relu(x, SLOPE) * mask)
            mask = mask.repeat_interleave(rate, dim=2)
            x = sum(block(x, mask) for block in blocks) / len(blocks)
        return (torch.tanh(self.last(F.leaky_relu(x) * mask)) * mask)[:, 0]


def _conv(in_channels: int, out_channels: int, kernel: int, dilation: int) -> nn.Module:
    conv = nn.Conv1d(in_channels, out_channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
    nn.init.normal_(conv.weight, std=0.01)
    return weight_norm(conv)
