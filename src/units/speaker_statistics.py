"""Features normalised by each speaker's own mean and deviation: what a voice and its microphone add, taken away.

Normalised features have the scale that frames have within speakers, so ``unit`` and ``root`` mean the same as without.
A recording of an unknown speaker is normalised by its own frames, drawn towards all speakers' where it is short: it
counts as ``PRIOR_FRAMES`` frames of theirs more. Names hold within a language: see ``speaker_key``.

Axes: S speakers, F frames, D features.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from core.records import Segment

PRIOR_FRAMES = 100  # 2 s
LEAST_DEVIATION = 1e-6  # a constant feature must not become 0 / 0

Spans = Sequence[tuple[str | None, int]]  # speakers and frames of utterances that follow each other


class SpeakerStatistics(NamedTuple):
    """Means and deviations of S speakers and, in the last row, of all: those within speakers."""

    names: Sequence[str]  # S
    means: np.ndarray  # (S + 1, D) float32
    deviations: np.ndarray  # (S + 1, D) float32


def speaker_key(row: Segment) -> str | None:
    """The speaker of a segment with the folder of its language, since names come again elsewhere; None: unknown."""
    speaker = row.get("speaker")
    return f"{PurePosixPath(row['audio']).parts[0]}/{speaker}" if speaker else None


def measure_speakers(features: np.ndarray, spans: Spans) -> SpeakerStatistics:
    """Statistics of every speaker in ``spans`` of (F, D) features; an utterance without a speaker counts as one."""
    places: dict[object, list[slice]] = {}
    for number, (speaker, place) in enumerate(_places(spans)):
        places.setdefault(number if speaker is None else speaker, []).append(place)
    moments = {one: _moments(np.concatenate([features[place] for place in found])) for one, found in places.items()}
    total = sum(n_frames for n_frames, _, _ in moments.values())
    mean, variance = (sum(one[0] * one[part] for one in moments.values()) / total for part in (1, 2))
    names = [one for one in moments if isinstance(one, str)]
    rows = [*(_draw(*moments[name], mean, variance) for name in names), (mean, variance)]
    means, variances = (np.stack(values) for values in zip(*rows))
    return SpeakerStatistics(names, means.astype(np.float32), np.sqrt(variances).astype(np.float32))


def _moments(features: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """(F, D) -> F, and mean and variance (D,) in float64; 0 where there are no frames."""
    if not len(features):
        return 0, np.zeros(features.shape[1]), np.zeros(features.shape[1])
    return len(features), features.mean(axis=0, dtype=np.float64), features.var(axis=0, dtype=np.float64)


def _places(spans: Spans) -> list[tuple[str | None, slice]]:
    ends = np.cumsum([n_frames for _, n_frames in spans])
    return [(speaker, slice(end - n_frames, end)) for (speaker, n_frames), end in zip(spans, ends)]


def _draw(
    n_frames: int, mean: np.ndarray, variance: np.ndarray, all_mean: np.ndarray, all_variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (D,) of ``n_frames`` drawn towards those of all, which count ``PRIOR_FRAMES``."""
    own = n_frames / (n_frames + PRIOR_FRAMES)
    return own * mean + (1 - own) * all_mean, own * variance + (1 - own) * all_variance


def normalise_speaker(features: np.ndarray, statistics: SpeakerStatistics, speaker: str | None) -> np.ndarray:
    """(F, D) -> (F, D) float32 of one utterance, without the speaker's mean and in the scale within all speakers."""
    everyone = statistics.deviations[-1]
    if speaker in statistics.names:
        place = statistics.names.index(speaker)
        mean, deviation = statistics.means[place], statistics.deviations[place]
    else:
        pooled = np.square(everyone, dtype=np.float64)
        mean, variance = _draw(*_moments(features), statistics.means[-1], pooled)
        deviation = np.sqrt(variance)
    factors = np.where(deviation < LEAST_DEVIATION, 1.0, everyone / np.maximum(deviation, LEAST_DEVIATION))
    return ((features - mean) * factors).astype(np.float32)


def normalise_spans(features: np.ndarray, statistics: SpeakerStatistics, spans: Spans) -> np.ndarray:
    """(F, D) -> (F, D) float32 of utterances that follow each other."""
    normalised = np.empty(features.shape, np.float32)
    for speaker, place in _places(spans):
        normalised[place] = normalise_speaker(features[place], statistics, speaker)
    return normalised


def forget_speakers(statistics: SpeakerStatistics) -> SpeakerStatistics:
    """What a new recording needs, without anybody's name."""
    return SpeakerStatistics([], statistics.means[-1:], statistics.deviations[-1:])
