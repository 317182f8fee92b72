"""V1: the published unit HiFi-GAN; units only, F0 is ignored (Polyak et al. 2021, without its pitch stream)."""

import torch
from torch import nn

from models.hifigan import HifiganTrunk


class Generator(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F)."""

    def __init__(
        self, n_units: int, *, n_streams: int = 1, n_speakers: int = 0, embedding: int = 128, channels: int = 512
    ):
        super().__init__()
        self.units = nn.ModuleList(nn.Embedding(n_units, embedding) for _ in range(n_streams))
        # Row 0 is the unknown speaker.
        self.speakers = nn.Embedding(n_speakers + 1, embedding) if n_speakers else None
        self.trunk = HifiganTrunk(embedding, channels=channels)

    def forward(self, units: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None = None) -> torch.Tensor:
        """units: int64, -1 = padding; f0: (B, F) Hz, not used; speaker: (B,) int64, 0 = unknown.

        Returns (B, 320 F) float in [-1, 1], zero on padding.
        """
        units = units[..., None] if units.dim() == 2 else units
        x = sum(embed(units[..., i].clamp_min(0)) for i, embed in enumerate(self.units))
        if self.speakers is not None:
            index = torch.zeros(len(units), dtype=torch.int64, device=units.device) if speaker is None else speaker
            x = x + self.speakers(index)[:, None]
        mask = (units[..., 0] >= 0).to(x.dtype)[:, None]
        return self.trunk(x.transpose(1, 2), mask)
