"""Utterances whose durations, voicing and pitch follow from their units, so that a predictor can learn them."""

import numpy as np

from models.prosody_predictor import N_HABITS
from prosody.batches import N_FOLDS, ProsodyUtterance
from units.corpus import expand

N_UNITS = 20
NO_HABITS = np.zeros((N_FOLDS + 1, N_UNITS, N_HABITS), np.float32)


def make_utterances(
    lengths: tuple[int, ...] = (150, 120, 130), speakers: tuple = ("ana", "rui", None)
) -> list[ProsodyUtterance]:
    """Even units are voiced and odd ones are not; a unit's pitch and duration follow from its id."""
    utterances = []
    for number, (length, speaker) in enumerate(zip(lengths, speakers)):
        units = np.random.default_rng(number).permutation(length) % N_UNITS
        durations = 1 + units % 4
        frames = expand(units, durations)
        f0 = np.where(frames % 2 == 0, (100 if speaker == "rui" else 200) * (1 + frames / 40), 0).astype(np.float32)
        utterances.append(ProsodyUtterance(f"u{number}", units, durations, f0, speaker))
    return utterances
