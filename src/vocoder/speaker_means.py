"""Speaker vectors of a corpus: one for each utterance, and their mean for each speaker.

Axes: D values of a vector.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from encoders.speaker_vectors import fill_speaker_vectors, kept_speaker_vector, mean_vector
from models.speaker_encoder import SPEAKER_DIM
from units.utterances import LoadedUtterance

VectorOf = Callable[[str], np.ndarray]  # id of an utterance -> (D,) float32


def utterance_vectors(cache: Path, utterances: Iterable[LoadedUtterance]) -> VectorOf:
    """The vector of every utterance, computed where ``cache`` lacks it; each is read when it is asked for."""
    fill_speaker_vectors(cache, ((utterance.id, utterance.audio_path) for utterance in utterances))
    return partial(kept_speaker_vector, cache)


def speaker_means(utterances: Iterable[LoadedUtterance], vector_of: VectorOf, speakers: Sequence[str]) -> np.ndarray:
    """(n_speakers + 1, D) float32: row 0 zeros for the unknown speaker, then the mean of each of ``speakers``.

    It is zeros, too, for those who speak in none of the utterances.
    """
    sums, rows = np.zeros((len(speakers) + 1, SPEAKER_DIM)), {name: row for row, name in enumerate(speakers, 1)}
    for utterance in utterances:
        if utterance.speaker in rows:
            sums[rows[utterance.speaker]] += vector_of(utterance.id)
    return np.stack([mean_vector([total]) for total in sums])
