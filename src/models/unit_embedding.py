"""Units and speakers as a generator or predictor reads them: tables that its own module holds, and their sum.

The tables are attributes of each model: ``unit_embedding`` and ``speaker_embedding``.
"""

import torch
from torch import nn


def unit_tables(n_units: int, n_streams: int, width: int) -> nn.ModuleList:
    """One table a stream of units."""
    return nn.ModuleList(nn.Embedding(n_units, width) for _ in range(n_streams))


def speaker_table(n_speakers: int, width: int) -> nn.Embedding | None:
    """Row 0 is the unknown speaker; None for a single voice."""
    return nn.Embedding(n_speakers + 1, width) if n_speakers else None


def speaker_projection(dim: int, width: int) -> nn.Linear | None:
    """A map of speaker vectors (B, dim) computed from audio; the zero vector is the unknown speaker.

    It starts at zero: a voice that knew no speakers goes on as it was. None for dim 0.
    """
    if not dim:
        return None
    projection = nn.Linear(dim, width, bias=False)
    nn.init.zeros_(projection.weight)
    return projection


def speaker_embedding(n_speakers: int, speaker_dim: int, width: int) -> nn.Embedding | nn.Linear | None:
    """How a generator knows speakers: a table of them, a map of their vectors, or not at all."""
    assert not (n_speakers and speaker_dim), "speakers: expected a table (n_speakers) or vectors (speaker_dim)"
    return speaker_projection(speaker_dim, width) if speaker_dim else speaker_table(n_speakers, width)


def embed_units(units: torch.Tensor, tables: nn.ModuleList) -> torch.Tensor:
    """units (B, F) or (B, F, n_streams) integers, -1 = padding -> (B, F, width), summed over the streams."""
    units = as_streams(units).long()  # utterances in memory hold int16 or int32
    return sum(table(units[..., stream].clamp_min(0)) for stream, table in enumerate(tables))


def add_speaker(
    x: torch.Tensor, embedding: nn.Embedding | nn.Linear | None, speaker: torch.Tensor | None
) -> torch.Tensor:
    """x (B, F, width) plus what each ``speaker`` adds: (B,) int64 rows of a table, or (B, dim) float vectors.

    None is the unknown one: row 0, or the zero vector.
    """
    if embedding is None or (speaker is None and isinstance(embedding, nn.Linear)):
        return x
    known = torch.zeros(len(x), dtype=torch.int64, device=x.device) if speaker is None else speaker
    return x + embedding(known)[:, None]


def unit_mask(units: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """units (B, F) or (B, F, n_streams) -> (B, 1, F): 1 where there is a unit, 0 on padding."""
    return (as_streams(units)[..., 0] >= 0).to(dtype)[:, None]


def as_streams(units: torch.Tensor) -> torch.Tensor:
    return units[..., None] if units.dim() == 2 else units


@torch.no_grad()
def seed_table(table: nn.Embedding, centroids: torch.Tensor) -> None:
    """Start a table of units as a random projection of their (K, D) float32 centroids, in place.

    Units that sound alike then begin alike, which small corpora would otherwise have to teach from a few examples each.
    """
    spread = centroids.std().clamp_min(1e-6)
    projection = torch.randn(centroids.shape[1], table.embedding_dim) / centroids.shape[1] ** 0.5
    table.weight.copy_((centroids - centroids.mean(0)) / spread @ projection)
