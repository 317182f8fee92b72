"""V2's discriminator: HiFi-GAN's multi-period beside its multi-scale one (Kong et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models.discriminator import SLOPE, Discriminator

PERIODS = (2, 3, 5, 7, 11)
PERIOD_CHANNELS = (1 / 32, 1 / 8, 1 / 2, 1, 1)  # shares of the width


class PeriodDiscriminator(nn.Module):
    """Sees every ``period``-th sample as a column: (B, S) -> feature maps (B, C, S / (period · stride), period)."""

    def __init__(self, period: int, width: int):
        super().__init__()
        self.period, self.layers, channels = period, nn.ModuleList(), 1
        for position, share in enumerate(PERIOD_CHANNELS):
            stride = 1 if position == len(PERIOD_CHANNELS) - 1 else 3
            conv = nn.Conv2d(channels, int(width * share), (5, 1), (stride, 1), padding=(2, 0))
            self.layers.append(weight_norm(conv))
            channels = int(width * share)
        self.score = weight_norm(nn.Conv2d(channels, 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        missing = -waveform.shape[1] % self.period
        x = F.pad(waveform[:, None], (0, missing), mode="reflect").unflatten(2, (-1, self.period))
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]


class DiscriminatorV2(nn.Module):
    """Periods 2, 3, 5, 7, 11 and three scales: (B, S) -> list of lists of feature maps."""

    def __init__(self, *, width: int = 1024, periods: tuple[int, ...] = PERIODS, n_scales: int = 3):
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)
        self.scales = Discriminator(width=width, n_scales=n_scales)

    def forward(self, waveform: torch.Tensor) -> list[list[torch.Tensor]]:
        return [discriminator(waveform) for discriminator in self.periods] + self.scales(waveform)
