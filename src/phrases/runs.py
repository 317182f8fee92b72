"""Speech as runs of deduplicated units between pauses: what repeated stretches are looked for in.

Axes: F frames, U segments, K centroids, N units, R seeds' units.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from core.frames import HOP_SAMPLES
from core.records import Segment

N_CLASSES = 40  # of centroids, for seeds: two speakings of a sound often differ in their nearest of 256 centroids
QUIET_DB = 35.0  # below the loud frames of a segment: a pause
LOUD_SHARE = 0.95  # of frames are quieter than what counts as loud
N_HEARD = 150  # segments that say which centroids are pauses
SHUFFLED_FRAMES = 10  # of a stretch that stays whole in the null
PAUSE_FRAMES = 8  # what is quiet for less is a closure within a word
NEAR_SHARE = 0.95  # of pairs of sounds drawn at random are less alike than what counts as near


class Runs(NamedTuple):
    """All units of a corpus in a row, pauses left out; a run holds no pause and lies in one segment."""

    units: np.ndarray  # (N,) nearest centroids
    starts: np.ndarray  # (N,) int32 frames in the segment
    stops: np.ndarray  # (N,) int32
    segments: np.ndarray  # (N,) int32
    runs: np.ndarray  # (N,) int32, counted through


def make_runs(codes: np.ndarray, bounds: np.ndarray, pauses: np.ndarray) -> Runs:
    """Units of (F,) ``codes``, deduplicated within the segments that the (U + 1,) ``bounds`` part.

    pauses: (K,) bool, the centroids that are no speech; PAUSE_FRAMES of them in a row are a pause.
    """
    codes, segments = np.asarray(codes), np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    quiet = pauses[codes]
    firsts, lasts = _stretches(quiet, segments)
    paused = np.repeat(quiet[firsts] & (lasts - firsts >= PAUSE_FRAMES), lasts - firsts)
    firsts, lasts = _stretches(codes, segments, paused)
    units, owners, spoken = codes[firsts], segments[firsts], ~paused[firsts]
    broken = np.ones(len(firsts), bool)
    broken[1:] = ~spoken[:-1] | (owners[1:] != owners[:-1])
    kept = np.flatnonzero(spoken)
    offsets = np.asarray(bounds)[owners[kept]]
    return Runs(
        units[kept],
        (firsts[kept] - offsets).astype(np.int32),
        (lasts[kept] - offsets).astype(np.int32),
        owners[kept].astype(np.int32),
        (np.cumsum(broken)[kept] - 1).astype(np.int32),
    )


def _stretches(*values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 of stretches in which none of some (F,) changes."""
    changed = np.zeros(len(values[0]), bool)
    changed[:1] = True
    for value in values:
        changed[1:] |= value[1:] != value[:-1]
    firsts = np.flatnonzero(changed)
    return firsts, np.append(firsts[1:], len(changed))


def shuffle_frames(runs: Runs, bounds: np.ndarray, seed: int) -> np.ndarray:
    """(F,) int64 order of frames in which stretches of SHUFFLED_FRAMES of each run change places.

    As much of every sound as before, each with its slopes and between the same pauses, and no longer word.
    """
    order, rng = np.arange(int(bounds[-1])), np.random.default_rng(seed)
    firsts = np.flatnonzero(np.diff(runs.runs, prepend=-1))
    for first, last in zip(firsts, np.append(firsts[1:], len(runs.units)) - 1):
        offset = int(bounds[runs.segments[first]])
        place = slice(offset + int(runs.starts[first]), offset + int(runs.stops[last]))
        cuts = np.arange(SHUFFLED_FRAMES, place.stop - place.start, SHUFFLED_FRAMES)
        stretches = np.split(order[place], cuts)
        order[place] = np.concatenate([stretches[number] for number in rng.permutation(len(stretches))])
    return order


def find_pauses(
    codes: np.ndarray, bounds: np.ndarray, segments: Sequence[Segment], load: Callable[[str], np.ndarray], n_codes: int
) -> np.ndarray:
    """(K,) bool: centroids whose frames are mostly quiet, by the loudness of some segments.

    load: a segment's path, relative to DATA_ROOT -> its waveform (S,).
    """
    quiet, total = np.zeros(n_codes), np.zeros(n_codes)
    for number in np.unique(np.linspace(0, len(segments) - 1, min(N_HEARD, len(segments))).astype(int)):
        found = np.asarray(codes[bounds[number] : bounds[number + 1]])
        waveform = load(segments[number]["audio"])
        n_frames = min(len(waveform) // HOP_SAMPLES, len(found))
        if n_frames:
            power = np.square(waveform[: n_frames * HOP_SAMPLES], dtype=np.float64).reshape(n_frames, -1).mean(axis=1)
            least = np.quantile(power, LOUD_SHARE) * 10 ** (-QUIET_DB / 10)
            total += np.bincount(found[:n_frames], minlength=n_codes)
            quiet += np.bincount(found[:n_frames], weights=power < max(least, 1e-12), minlength=n_codes)
    return quiet > total / 2


def similarity_table(centroids: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(K, K) float32: 1 for the same sound, 0 at NEAR_SHARE of random pairs of ``units``, −1 for what is far."""
    length = np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-9)
    cosines = (centroids / length) @ (centroids / length).T
    rng = np.random.default_rng(0)
    drawn = cosines[rng.choice(units, 20_000), rng.choice(units, 20_000)]
    near = min(float(np.quantile(drawn, NEAR_SHARE)), 0.95)
    return np.clip((cosines - near) / (1 - near), -1, 1).astype(np.float32)


def group_centroids(centroids: np.ndarray, seed: int) -> np.ndarray:
    """(K,) class of each centroid, N_CLASSES at most."""
    with threadpool_limits(1):
        means = KMeans(min(N_CLASSES, len(centroids)), n_init=3, random_state=seed).fit(centroids)
    return means.labels_.astype(np.int64)
