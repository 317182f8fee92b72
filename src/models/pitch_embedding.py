"""F0 as the generators see it: a bin and a value."""

import torch
from torch import nn

from core.frames import F0_CEILING, F0_FLOOR, N_PITCH_BINS

REFERENCE_F0 = 170.0  # Hz: between a low and a high voice


def extract_pitch_bins(f0: torch.Tensor, n_bins: int = N_PITCH_BINS) -> torch.Tensor:
    """(…) Hz to int64 bins: 0 = unvoiced, 1 to n_bins - 1 log-spaced from 60 to 500 Hz (clipped outside)."""
    # In float64, so that a value on an edge falls on the same side everywhere.
    edges = torch.logspace(0, 1, n_bins, base=F0_CEILING / F0_FLOOR, dtype=torch.float64, device=f0.device) * F0_FLOOR
    bins = torch.bucketize(f0.double(), edges, right=True).clamp(1, n_bins - 1)
    return torch.where(f0 > 0, bins, 0)


class PitchEmbedding(nn.Module):
    """F0 as a bin (any shape of response), as log F0 with a voicing flag (smooth), or both: (B, F) Hz -> (B, F, C)."""

    def __init__(self, channels: int, form: str = "both"):
        super().__init__()
        self.bins = nn.Embedding(N_PITCH_BINS, channels) if form in ("both", "bins") else None
        self.values = nn.Linear(2, channels) if form in ("both", "value") else None

    def forward(self, f0: torch.Tensor) -> torch.Tensor:
        binned = self.bins(extract_pitch_bins(f0)) if self.bins is not None else 0.0
        if self.values is None:
            return binned
        voiced = (f0 > 0).to(f0.dtype)
        octaves = torch.log2(f0.clamp_min(1.0) / REFERENCE_F0) * voiced
        return binned + self.values(torch.stack([octaves, voiced], dim=-1))
