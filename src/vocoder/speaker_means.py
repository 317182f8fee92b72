"""Speaker vectors of a corpus: one for each utterance, and their mean for each speaker.

Axes: D values of a vector.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from encoders.speaker_vectors import mean_vector, read_speaker_vectors
from models.speaker_encoder import SPEAKER_DIM
from units.utterances import LoadedUtterance


def utterance_vectors(cache: Path, utterances: Sequence[LoadedUtterance]) -> dict[str, np.ndarray]:
    """The vector of every utterance, computed where ``cache`` lacks it: id -> (D,) float32."""
    return read_speaker_vectors(cache, [(utterance.id, utterance.audio_path) for utterance in utterances])


def speaker_means(
    utterances: Sequence[LoadedUtterance], vectors: Mapping[str, np.ndarray], speakers: Sequence[str]
) -> np.ndarray:
    """(n_speakers + 1, D) float32: row 0 zeros for the unknown speaker, then the mean of each of ``speakers``.

    It is zeros, too, for those who speak in none of the utterances.
    """
    means = np.zeros((len(speakers) + 1, SPEAKER_DIM), np.float32)
    for row, name in enumerate(speakers, 1):
        spoken = [vectors[utterance.id] for utterance in utterances if utterance.speaker == name]
        means[row] = mean_vector(spoken) if spoken else 0.0
    return means
