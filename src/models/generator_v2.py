"""V2: unit and pitch-bin embeddings before a HiFi-GAN trunk."""

import torch
from torch import nn

from core.frames import N_PITCH_BINS
from models.hifigan import HifiganTrunk
from models.pitch_embedding import extract_pitch_bins
from models.unit_embedding import add_speaker, embed_units, speaker_embedding, unit_mask, unit_tables


class GeneratorV2(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F)."""

    uses_f0 = True

    def __init__(
        self,
        n_units: int,
        *,
        n_streams: int = 1,
        n_speakers: int = 0,
        speaker_dim: int = 0,
        embedding: int = 128,
        pitch_embedding: int = 32,
        n_pitch_bins: int = N_PITCH_BINS,
        channels: int = 512,
    ):
        super().__init__()
        self.unit_embedding = unit_tables(n_units, n_streams, embedding)
        self.pitch_embedding = nn.Embedding(n_pitch_bins, pitch_embedding)
        self.speaker_embedding = speaker_embedding(n_speakers, speaker_dim, embedding)
        self.trunk = HifiganTrunk(embedding + pitch_embedding, channels=channels)

    def excite(self, keys: torch.Tensor, n_frames: int, *, first_sample: int = 0) -> None:
        """The noise to filter, as ``GeneratorV3.excite`` gives it: a HiFi-GAN filters none."""

    def forward(
        self,
        content: torch.Tensor,
        f0: torch.Tensor,
        speaker: torch.Tensor | None = None,
        *,
        noise: None = None,
        phase: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """content: units, int64, -1 = padding; f0: (B, F) Hz, 0 = unvoiced; speaker: as ``GeneratorV3`` has it.

        noise, phase: of ``GeneratorV3``, not used. Returns (B, 320 F) float in [-1, 1], zero on padding.
        """
        x = add_speaker(embed_units(content, self.unit_embedding), self.speaker_embedding, speaker)
        pitch = self.pitch_embedding(extract_pitch_bins(f0, self.pitch_embedding.num_embeddings))
        return self.trunk(torch.cat([x, pitch], dim=-1).transpose(1, 2), unit_mask(content, x.dtype))
