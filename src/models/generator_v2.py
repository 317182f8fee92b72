"""V2: unit and pitch-bin embeddings before a HiFi-GAN trunk."""

import torch
from torch import nn

from models.hifigan import HifiganTrunk
from models.pitch_embedding import pitch_bins
from models.unit_embedding import add_speaker, embed_units, speaker_table, unit_mask, unit_tables


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
        self.units = unit_tables(n_units, n_streams, embedding)
        self.pitch = nn.Embedding(n_pitch_bins, pitch_embedding)
        self.speakers = speaker_table(n_speakers, embedding)
        self.trunk = HifiganTrunk(embedding + pitch_embedding, channels=channels)

    def forward(self, units: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None = None) -> torch.Tensor:
        """units: int64, -1 = padding; f0: (B, F) Hz, 0 = unvoiced; speaker: (B,) int64, 0 = unknown.

        Returns (B, 320 F) float in [-1, 1], zero on padding.
        """
        x = add_speaker(embed_units(units, self.units), self.speakers, speaker)
        x = torch.cat([x, self.pitch(pitch_bins(f0, self.pitch.num_embeddings))], dim=-1)
        return self.trunk(x.transpose(1, 2), unit_mask(units, x.dtype))
