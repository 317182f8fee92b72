"""V3's discriminator: two-dimensional convolutions over log spectrograms, chosen for what it costs on a CPU.

Phase is left to the generator's source; the texture of noise and of harmonics shows in the spectrogram. Kin: the
multi-resolution discriminators of UnivNet (Jang et al. 2021) and Encodec (Défossez et al. 2022).
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
RESOLUTIONS = ((1024, 256), (512, 128), (256, 64))  # window and hop, samples
LONGEST_WINDOW = max(window for window, _ in RESOLUTIONS)


class SpectrogramDiscriminator(nn.Module):
    """(B, S) -> feature maps (B, C, frames / 1 or 2, bins / 2^n) over the compressed magnitude spectrogram."""

    def __init__(self, n_fft: int, hop: int, width: int):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        # Halving the frames early halves the cost of all that follows.
        strides = ((1, 2), (2, 2), (1, 2), (1, 1))
        channels = [1, width, 2 * width, 2 * width, 2 * width]
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    before,
                    after,
                    (3, 9) if not position else (3, 5),
                    stride,
                    padding=(1, 4) if not position else (1, 2),
                )
            )
            for position, (before, after, stride) in enumerate(zip(channels, channels[1:], strides))
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        x, features = self._spectrogram(waveform)[:, None], []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]

    def _spectrogram(self, waveform: torch.Tensor) -> torch.Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.float().unfold(1, self.n_fft, self.hop) * self.window
            spectrum = torch.fft.rfft(frames)
            power = spectrum.real.square() + spectrum.imag.square()
        # log(1e-5 + power) / 4 spans about -3 to 1 for speech: the scale convolutions like.
        return torch.log(power + 1e-5) / 4


class DiscriminatorV3(nn.Module):
    """Three resolutions: (B, S) -> list of lists of feature maps."""

    def __init__(self, *, width: int = 16, resolutions: tuple[tuple[int, int], ...] = RESOLUTIONS):
        super().__init__()
        self.resolutions = nn.ModuleList(SpectrogramDiscriminator(n_fft, hop, width) for n_fft, hop in resolutions)

    def forward(self, waveform: torch.Tensor) -> list[list[torch.Tensor]]:
        return [discriminator(waveform) for discriminator in self.resolutions]
