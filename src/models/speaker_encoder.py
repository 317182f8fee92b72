"""GE2E: a network that hears who speaks (Wan et al. 2018, "Generalized end-to-end loss for speaker verification").

Axes: W windows, M mel frames of 10 ms, D values of a vector.
"""

import torch
from torch import nn

N_SPEAKER_MELS = 40
SPEAKER_DIM = 256


class SpeakerEncoder(nn.Module):
    """Three LSTM layers and a linear one, of the shape of the published weights of resemblyzer."""

    def __init__(self, width: int = 256, dim: int = SPEAKER_DIM, n_layers: int = 3):
        super().__init__()
        self.lstm = nn.LSTM(N_SPEAKER_MELS, width, n_layers, batch_first=True)
        self.linear = nn.Linear(width, dim)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """mel (W, M, 40) float power -> (W, D) float, none negative, each of length 1: what the last frame knows."""
        _, (hidden, _) = self.lstm(mel)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=-1)
