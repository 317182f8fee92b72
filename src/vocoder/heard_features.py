"""A frozen speech recogniser that hears what a generator says: a loss in its features (Guo et al. 2024, "FLY-TTS").

Where log-mel asks for every band alike, a recogniser's layers ask for what tells sounds apart. This repository brings
the lowest layers of a small one (``voices/hearing``), which ``recipes/base_voice/cut_hearing.py`` cut out.

Axes: B batch, S samples at 16 kHz, T positions of 20 ms, D channels.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import UserError
from core.frames import SAMPLE_RATE, samples_to_frames
from encoders.pretrained import read_pretrained_config
from encoders.whisper import load_layers
from languages import REPOSITORY

OWN, DEAF = "own", "none"
OWN_HEARING = REPOSITORY / "voices" / "hearing"
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
        self.network = load_layers(name, config, config.num_hidden_layers).eval().requires_grad_(False)
        self.n_positions = config.max_source_positions
        self.register_buffer("filters", mel_filters(config.num_mel_bins), persistent=False)
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


def mel_filters(n_mels: int) -> torch.Tensor:
    """(N_FFT // 2 + 1, n_mels) float32, as Whisper was trained with."""
    from transformers.audio_utils import mel_filter_bank

    flags = {"min_frequency": 0.0, "max_frequency": SAMPLE_RATE / 2, "norm": "slaney", "mel_scale": "slaney"}
    return torch.from_numpy(mel_filter_bank(N_FFT // 2 + 1, n_mels, sampling_rate=SAMPLE_RATE, **flags)).float()


def open_hearing(name: str | None, crop_samples: int) -> Hearing | None:
    """The recogniser that --hearing names: "own", "none", a hub id or a folder.

    Raises UserError where there is none, or where it cannot hear whole crops.
    """
    if name in (None, DEAF):
        return None
    if name == OWN and not Path(OWN_HEARING, "config.json").is_file():
        raise UserError(f"--hearing own: expected {OWN_HEARING}, found none; copy it again, or give --hearing none")
    hearing = Hearing(str(OWN_HEARING) if name == OWN else name)
    n_positions = samples_to_frames(crop_samples)
    if n_positions > hearing.n_positions:
        raise UserError(
            f"--hearing {name}: expected crops of at most {hearing.n_positions} frames, found {n_positions}; give "
            "--crop_frames less, or --hearing a whole Whisper"
        )
    return hearing


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
