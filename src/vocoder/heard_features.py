"""A frozen speech recogniser that hears what a generator says: a loss in its features (Guo et al. 2024, "FLY-TTS").

Where log-mel asks for every band alike, a recogniser's layers ask for what tells sounds apart.

Axes: B batch, S samples at 16 kHz, T positions of 20 ms, D channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from encoders.pretrained import read_pretrained_config
from encoders.whisper import WhisperEncoder

N_FFT, HOP = 400, 160  # of Whisper's log-mel, samples
LEAST_DEVIATION = 1e-3


class Hearing(nn.Module):
    """(B, S) float in [-1, 1] -> what Whisper's convolutions and each of its layers return, (B, T, D) each.

    name: hub id or folder of a Whisper. Its weights stay as they are; gradients pass through to the waveform. Crops of
    a second or less are heard without the 30 s of silence that a recogniser gets.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        config = read_pretrained_config(name, ["whisper"])
        encoder = WhisperEncoder(name, config, config.num_hidden_layers)
        self.network = encoder.network.eval().requires_grad_(False)
        filters = torch.from_numpy(encoder.extractor.mel_filters).float()
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        states = F.gelu(self.network.conv1(self.log_mel(waveform)))
        states = F.gelu(self.network.conv2(states)).transpose(1, 2)
        states = states + self.network.embed_positions.weight[: states.shape[1]]
        heard = [states]
        for layer in self.network.layers:
            heard.append(layer(heard[-1], None))
        return heard

    def log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, S) -> (B, mel bins, S / 160), as Whisper's own extractor makes it."""
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(waveform.float(), N_FFT, HOP, window=self.window, return_complex=True)[..., :-1]
            power = spectrum.real.square() + spectrum.imag.square()
            decades = torch.log(torch.clamp(power.transpose(1, 2) @ self.filters, min=1e-10)) / math.log(10)
            loudest = decades.detach().amax(dim=(1, 2), keepdim=True)
            return (torch.maximum(decades, loudest - 8) / 4 + 1).transpose(1, 2)


def hearing_loss(hearing: nn.Module, original: torch.Tensor, resynthesis: torch.Tensor) -> torch.Tensor:
    """How differently the two (B, S) are heard: the mean over layers, channels in their own standard deviations."""
    with torch.no_grad():
        of_original = hearing(original)
    distances = [
        ((of_resynthesis.float() - of_original.float()).abs() / spread(of_original.float())).mean()
        for of_original, of_resynthesis in zip(of_original, hearing(resynthesis), strict=True)
    ]
    return sum(distances) / len(distances)


def spread(states: torch.Tensor) -> torch.Tensor:
    """(D,) the standard deviation of each channel of (B, T, D): a few are a hundred times as large as the others."""
    return states.std(dim=(0, 1)).clamp_min(LEAST_DEVIATION)
