"""V2: unit and pitch-bin embeddings before a HiFi-GAN trunk."""

import torch
from torch import nn

from models.hifigan import HifiganTrunk
from models.pitch_embedding import pitch_bins


class GeneratorV2(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F)."""

    def __init__(
        self,
        n_units: int,
        *,
        n_streams: int = 1,
        n_speakers: int = 0,
        embedding: int = 128,
        pitch_embedding: int = 32,
        n_pitch_bins: int = 32,
        channels: int = 512,
    ):
        super().__init__()
        self.units = nn.ModuleList(nn.Embedding(n_units, embedding) for _ in range(n_streams))
        self.pitch = nn.Embedding(n_pitch_bins, pitch_embedding)
        # Row 0 is the unknown speaker.
        self.speakers = nn.Embedding(n_speakers + 1, embedding) if n_speakers else None
        self.trunk = HifiganTrunk(embedding + pitch_embedding, channels=channels)

    def forward(self, units: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None = None) -> torch.Tensor:
        """units: int64, -1 = padding; f0: (B, F) Hz, 0 = unvoiced; speaker: (B,) int64, 0 = unknown.

        Returns (B, 320 F) float in [-1, 1], zero on padding.
        """
        units = units[..., None] if units.dim() == 2 else units
        x = sum(embed(units[..., i].clamp_min(0)) for i, embed in enumerate(self.units))
        if self.speakers is not None:
            index = torch.zeros(len(units), dtype=torch.int64, device=units.device) if speaker is None else speaker
            x = x + self.speakers(index)[:, None]
        x = torch.cat([x, self.pitch(pitch_bins(f0, self.pitch.num_embeddings))], dim=-1)
        mask = (units[..., 0] >= 0).to(x.dtype)[:, None]
        return self.trunk(x.transpose(1, 2), mask)
