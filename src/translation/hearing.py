"""How utterances of any language enter the encoder: as units, as tokens of phase 2, or as an encoder's features.

Axes: S places, F frames (50 Hz), D features of a frame, k frames of a place.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.translator import Heard
from unit_lm.utterances import UnitUtterance, tokenize
from unit_lm.vocabulary import (
    PAD,
    Vocabulary,
    describe_vocabulary,
    frame_tokens,
    language_token,
    make_vocabulary,
    read_vocabulary,
)

FEATURES = "features"  # the input that is no kind of token


class Hearing(NamedTuple):
    """What the encoder takes; all but ``kind`` and ``vocabulary`` is of features."""

    kind: str  # units, frames, bpe or features
    vocabulary: Vocabulary  # of features: the languages alone
    encoder: str = ""
    layer: int | None = None
    padding: str = "full"
    stack: int = 1  # k
    means: Mapping[str, np.ndarray] = {}  # (D,) of each language, in the training split
    scales: Mapping[str, np.ndarray] = {}  # (D,)


class Sound(NamedTuple):
    """One utterance as it is heard."""

    tokens: np.ndarray  # (S,) int64; (1,) with features
    features: np.ndarray  # (S - 1, k * D) float32; (0, 0) without


def languages_alone(languages: Sequence[str]) -> Vocabulary:
    """A vocabulary without symbols: features say what is heard."""
    return make_vocabulary("units", languages, [FEATURES] * len(languages), [0] * len(languages))


def describe_hearing(hearing: Hearing) -> dict[str, object]:
    """Plain values and tensors, for a checkpoint."""
    tables = {name: {key: torch.from_numpy(row) for key, row in getattr(hearing, name).items()} for name in _TABLES}
    return hearing._asdict() | {"vocabulary": describe_vocabulary(hearing.vocabulary)} | tables


def read_hearing(described: Mapping[str, object]) -> Hearing:
    """The inverse of ``describe_hearing``."""
    tables = {name: {key: row.numpy() for key, row in described[name].items()} for name in _TABLES}
    return Hearing(**(dict(described) | tables | {"vocabulary": read_vocabulary(described["vocabulary"])}))


_TABLES = ("means", "scales")


def measure_features(features: Mapping[str, Sequence[np.ndarray]]) -> tuple[dict, dict]:
    """Means and spreads (D,) of the (F, D) features of each language: speakers and rooms are evened out by them."""
    joined = {language: np.concatenate(list(some)).astype(np.float32) for language, some in features.items()}
    means = {language: frames.mean(0) for language, frames in joined.items()}
    return means, {language: frames.std(0) + 1e-3 for language, frames in joined.items()}


def hear_features(hearing: Hearing, language: str, features: np.ndarray) -> Sound:
    """(F, D) features of one utterance, ``stack`` frames side by side; the last frame fills the last place up."""
    values = (features.astype(np.float32) - hearing.means[language]) / hearing.scales[language]
    missing = -len(values) % hearing.stack
    values = np.pad(values, ((0, missing), (0, 0)), mode="edge")
    token = np.array([language_token(hearing.vocabulary, language)], np.int64)
    return Sound(token, values.reshape(len(values) // hearing.stack, -1))


def hear_units(hearing: Hearing, utterances: Sequence[UnitUtterance]) -> list[Sound]:
    """The tokens of each utterance behind that of its language."""
    tokens = tokenize(hearing.vocabulary, utterances)
    empty = np.zeros((0, 0), np.float32)
    return [
        Sound(frame_tokens(hearing.vocabulary, one.language, found, ended=False), empty)
        for one, found in zip(utterances, tokens)
    ]


def count_places(sound: Sound) -> int:
    """S, what an utterance takes in the encoder and before the target."""
    return len(sound.tokens) + len(sound.features)


def stack_sounds(sounds: Sequence[Sound]) -> Heard:
    """Utterances of any length as one batch, filled up at their ends."""
    lengths = [count_places(sound) for sound in sounds]
    longest, n_features = max(lengths), sounds[0].features.shape[1]
    n_tokens = max(len(sound.tokens) for sound in sounds)
    tokens = np.full((len(sounds), n_tokens), PAD, np.int64)
    features = np.zeros((len(sounds), longest - 1 if n_features else 0, n_features), np.float32)
    for row, sound in enumerate(sounds):
        tokens[row, : len(sound.tokens)] = sound.tokens
        features[row, : len(sound.features)] = sound.features
    seen = np.arange(longest)[None] < np.array(lengths)[:, None]
    return Heard(torch.from_numpy(tokens), torch.from_numpy(features), torch.from_numpy(seen))
