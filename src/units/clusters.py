"""The clusters that turn features into units, as they lie in memory. Axes: D features, K units, N streams."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.records import EncoderOrigin
from models.feature_denoiser import FeatureDenoiser
from units.speaker_statistics import SpeakerStatistics


class UnitClusters(NamedTuple):
    """What turns features into units."""

    books: Sequence[np.ndarray]  # N times (K, D) float32: the first stream's centroids, then the residual ones
    mean: np.ndarray  # (D,) float32, taken away from features
    scale: np.ndarray  # (D,) float32, that they are divided by
    description: EncoderOrigin | None = None
    projection: np.ndarray | None = None  # (D, P) float32 that scaled features are multiplied by; centroids are (K, P)
    switch_costs: Sequence[float] = ()  # N squared distances that a change of unit costs; none where it costs nothing
    speakers: SpeakerStatistics | None = None  # where each speaker's features are normalised by the speaker's own
    denoiser: FeatureDenoiser | None = None  # that scaled features go through first (units.denoising)
