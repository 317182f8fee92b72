"""V3's discriminator: two-dimensional convolutions over spectrograms, for a CPU, or as large as a GPU affords.

The small one sees log magnitudes at three resolutions. Phase is left to the generator's source; the texture of noise
and of harmonics shows in the spectrogram. The large ones have the same three, and wider sub-discriminators beside them:
a voice that starts from such a training on a CPU takes the three along and leaves the others. Kin: the multi-resolution
discriminators of UnivNet (Jang et al. 2021), Encodec (Défossez et al. 2022), whose input is complex, and DAC (Kumar et
al. 2023), which gives every band of frequencies convolutions of its own.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
RESOLUTIONS = ((1024, 256), (512, 128), (256, 64))  # window and hop, samples
WIDE_RESOLUTIONS = ((2048, 512), *RESOLUTIONS, (128, 32))
FURTHER_WEIGHTS = "further."  # how the names of a large one's wider parts begin
BANDS = (0, 0.125, 0.25, 0.5, 0.75, 1)  # shares of the bins, where bands have convolutions of their own


class Further(NamedTuple):
    """What a large discriminator has beside the small one's sub-discriminators."""

    resolutions: Sequence[tuple[int, int]] = ()
    width: int = 32
    complex_input: bool = False  # real and imaginary parts beside the log magnitude
    bands: Sequence[float] = (0, 1)


FURTHER = {
    "small": Further(),
    "wide": Further(WIDE_RESOLUTIONS, width=48),
    "complex": Further(WIDE_RESOLUTIONS[:-1], width=32, complex_input=True, bands=BANDS),
}


def longest_window(size: str) -> int:
    """The samples that a discriminator of this size must see at least."""
    return max(window for window, _ in (*RESOLUTIONS, *FURTHER[size].resolutions))


class SpectrogramDiscriminator(nn.Module):
    """(B, S) -> feature maps (B, C, frames / 1 or 2, bins / 2^n) over the compressed spectrogram."""

    def __init__(self, n_fft: int, hop: int, width: int, *, complex_input: bool = False):
        super().__init__()
        self.n_fft, self.hop, self.complex_input = n_fft, hop, complex_input
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.layers = convolutions(3 if complex_input else 1, width)
        self.score = weight_norm(nn.Conv2d(2 * width, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        x = compressed_spectrogram(waveform, self.n_fft, self.hop, self.window, complex_input=self.complex_input)
        features = run_layers(self.layers, x)
        return [*features, self.score(features[-1])]


class BandDiscriminator(nn.Module):
    """As ``SpectrogramDiscriminator``, with convolutions of their own for every band of frequencies.

    bands: their edges as shares of the bins. Features of a layer are those of all bands, one behind the other.
    """

    def __init__(self, n_fft: int, hop: int, width: int, bands: Sequence[float], *, complex_input: bool = False):
        super().__init__()
        self.n_fft, self.hop, self.complex_input = n_fft, hop, complex_input
        n_bins = n_fft // 2 + 1
        self.edges = [round(share * n_bins) for share in bands]
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.bands = nn.ModuleList(convolutions(3 if complex_input else 1, width) for _ in self.edges[1:])
        self.score = weight_norm(nn.Conv2d(2 * width, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        x = compressed_spectrogram(waveform, self.n_fft, self.hop, self.window, complex_input=self.complex_input)
        of_bands = [
            run_layers(layers, x[..., low:high])
            for layers, low, high in zip(self.bands, self.edges, self.edges[1:], strict=False)
        ]
        features = [torch.cat(maps, dim=-1) for maps in zip(*of_bands)]
        return [*features, self.score(features[-1])]


def convolutions(n_planes: int, width: int) -> nn.ModuleList:
    """The inner layers; halving the frames early halves the cost of all that follows."""
    strides = ((1, 2), (2, 2), (1, 2), (1, 1))
    channels = [n_planes, width, 2 * width, 2 * width, 2 * width]
    return nn.ModuleList(
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


def run_layers(layers: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return features


def compressed_spectrogram(
    waveform: torch.Tensor, n_fft: int, hop: int, window: torch.Tensor, *, complex_input: bool = False
) -> torch.Tensor:
    """(B, S) -> (B, 1 or 3, frames, bins) float32: log power and, where asked for, the real and imaginary parts.

    log(1e-5 + power) / 4 spans about -3 to 1 for speech: the scale convolutions like. The parts are of the cube root
    of the magnitude, so that quiet sounds count too.
    """
    with torch.autocast(waveform.device.type, enabled=False):
        frames = waveform.float().unfold(1, n_fft, hop) * window
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square()
        log_power = torch.log(power + 1e-5) / 4
        if not complex_input:
            return log_power[:, None]
        scale = (power + 1e-5).pow(-1 / 3)
        return torch.stack([log_power, spectrum.real * scale, spectrum.imag * scale], dim=1)


class DiscriminatorV3(nn.Module):
    """Sub-discriminators of several resolutions: (B, S) -> list of lists of feature maps.

    size: "small" for three of ``width``; the others of ``FURTHER`` have these three and wider ones.
    """

    def __init__(
        self,
        *,
        width: int = 16,
        resolutions: tuple[tuple[int, int], ...] = RESOLUTIONS,
        size: Literal["small", "wide", "complex"] = "small",
    ):
        super().__init__()
        self.resolutions = nn.ModuleList(SpectrogramDiscriminator(n_fft, hop, width) for n_fft, hop in resolutions)
        self.further = nn.ModuleList(build_further(FURTHER[size], width))

    def forward(self, waveform: torch.Tensor) -> list[list[torch.Tensor]]:
        return [discriminator(waveform) for discriminator in (*self.resolutions, *self.further)]


def build_further(further: Further, small_width: int) -> list[nn.Module]:
    """The wider sub-discriminators; as much narrower as the small ones are narrower than 16."""
    width, complex_input = max(1, further.width * small_width // 16), further.complex_input
    if len(further.bands) == 2:
        return [SpectrogramDiscriminator(*form, width, complex_input=complex_input) for form in further.resolutions]
    return [BandDiscriminator(*form, width, further.bands, complex_input=complex_input) for form in further.resolutions]
