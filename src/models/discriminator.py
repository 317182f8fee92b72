"""V1's discriminator: multi-scale over the raw waveform (HiFi-GAN's MSD, Kong et al. 2020, after MelGAN).

Every discriminator here returns one list a sub-discriminator: its feature maps, the last of which are the scores.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SLOPE = 0.1
# Share of the width, kernel, stride, groups.
SCALE_LAYERS = (
    (1 / 8, 15, 1, 1),
    (1 / 8, 41, 2, 4),
    (1 / 4, 41, 2, 16),
    (1 / 2, 41, 4, 16),
    (1, 41, 4, 16),
    (1, 41, 1, 16),
    (1, 5, 1, 1),
)


class ScaleDiscriminator(nn.Module):
    """Strided grouped convolutions over (B, 1, S)."""

    def __init__(self, width: int, *, spectral: bool = False):
        super().__init__()
        normalised = spectral_norm if spectral else weight_norm
        self.layers, channels = nn.ModuleList(), 1
        for share, kernel, stride, most_groups in SCALE_LAYERS:
            groups = math.gcd(most_groups, channels, int(width * share))  # a narrow layer has fewer
            conv = nn.Conv1d(channels, int(width * share), kernel, stride, kernel // 2, groups=groups)
            self.layers.append(normalised(conv))
            channels = int(width * share)
        self.score = normalised(nn.Conv1d(channels, 1, 3, padding=1))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        features, x = [], waveform[:, None]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]


class Discriminator(nn.Module):
    """Three scales: the waveform and its averages over 2 and 4 samples. (B, S) -> list of lists of feature maps."""

    def __init__(self, *, width: int = 1024, n_scales: int = 3):
        super().__init__()
        self.scales = nn.ModuleList(ScaleDiscriminator(width, spectral=scale == 0) for scale in range(n_scales))

    def forward(self, waveform: torch.Tensor) -> list[list[torch.Tensor]]:
        outputs = []
        for scale, discriminator in enumerate(self.scales):
            if scale:
                waveform = F.avg_pool1d(waveform[:, None], 4, 2, 2)[:, 0]
            outputs.append(discriminator(waveform))
        return outputs
