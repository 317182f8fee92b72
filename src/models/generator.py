"""V1: the published unit HiFi-GAN; units only, F0 is ignored (Polyak et al. 2021, without its pitch stream)."""

import torch
from torch import nn

from models.hifigan import HifiganTrunk
from models.unit_embedding import add_speaker, embed_units, speaker_embedding, unit_mask, unit_tables


class Generator(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F)."""

    uses_f0 = False

    def __init__(
        self,
        n_units: int,
        *,
        n_streams: int = 1,
        n_speakers: int = 0,
        speaker_dim: int = 0,
        embedding: int = 128,
        channels: int = 512,
    ):
        super().__init__()
        self.unit_embedding = unit_tables(n_units, n_streams, embedding)
        self.speaker_embedding = speaker_embedding(n_speakers, speaker_dim, embedding)
        self.trunk = HifiganTrunk(embedding, channels=channels)

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
        """content: units, int64, -1 = padding; f0: (B, F) Hz, not used; speaker: as ``GeneratorV3`` has it.

        noise, phase: of ``GeneratorV3``, not used. Returns (B, 320 F) float in [-1, 1], zero on padding.
        """
        x = add_speaker(embed_units(content, self.unit_embedding), self.speaker_embedding, speaker)
        return self.trunk(x.transpose(1, 2), unit_mask(content, x.dtype))
