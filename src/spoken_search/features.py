"""Features in which the same word is near itself whoever says it: normalised, projected, of unit length.

Axes: S samples, F frames of 320 samples, D features of the encoder, P features that are kept, K centroids.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from core.errors import UserError
from core.records import SearchFeatures
from encoders.encode import Encoder, encode, load_encoder
from encoders.table import describe_encoder, hash_encoder, last_layer
from units.assignment import assign

PRIOR_FRAMES = 100  # frames of the whole corpus that each signal's own mean and variance are mixed with
LEAST_VARIANCE = 1e-6


class Transform(NamedTuple):
    """From an encoder's features to those that are compared, and the centroids of these."""

    mean: np.ndarray  # (D,) float32, of the corpus
    variance: np.ndarray  # (D,) float32
    projection: np.ndarray | None  # (D, P) float32, onto axes of equal variance; None: features stay as they are
    centroids: np.ndarray  # (K, P) float32


def describe_search_features(
    encoder: str, layer: int | None, *, padding: str, n_features: int, n_centroids: int, seed: int
) -> SearchFeatures:
    """The settings, checked, without loading weights; ``layer`` None is the last of an encoder that has layers."""
    layer = last_layer(encoder) if layer is None else layer
    dim = describe_encoder(encoder, layer).dim
    return {
        "encoder": encoder,
        "encoder_hash": hash_encoder(encoder),
        "layer": layer,
        "padding": padding,
        "n_features": min(n_features, dim),
        "n_centroids": n_centroids,
        "seed": seed,
    }


def open_search_encoder(features: SearchFeatures, device: str = "cpu") -> Encoder:
    """The encoder of an index. UserError where its weights have changed since."""
    if hash_encoder(features["encoder"]) != features["encoder_hash"]:
        raise UserError(
            f"{features['encoder']}: expected the weights that the index was made with, found others; "
            "make it again with src/index_speech.py --overwrite"
        )
    return load_encoder(features["encoder"], features["layer"], device, padding=features["padding"])


def normalise(features: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(F, D) of one signal without what its voice and microphone add: its mean taken away, divided by its deviation.

    Both are those of the signal and of PRIOR_FRAMES frames of the corpus together, so that a single word, whose sounds
    are no fair sample, keeps what makes it that word.
    """
    features = np.asarray(features, np.float32)
    total = len(features) + PRIOR_FRAMES
    own_mean = (features.sum(axis=0) + PRIOR_FRAMES * mean) / total
    centred = features - own_mean
    own_variance = (np.square(centred).sum(axis=0) + PRIOR_FRAMES * variance) / total
    return centred / np.sqrt(own_variance + LEAST_VARIANCE)


def fit_transform(signals: Sequence[np.ndarray], *, n_features: int, n_centroids: int, seed: int) -> Transform:
    """From (F, D) features of a sample of signals. Raises UserError for fewer frames than centroids."""
    stacked = np.concatenate(signals).astype(np.float32)
    mean, variance = stacked.mean(axis=0), stacked.var(axis=0)
    normalised = np.concatenate([normalise(signal, mean, variance) for signal in signals])
    projection = _whitening_axes(normalised, n_features) if n_features else None
    frames = _compare(normalised, projection)
    return Transform(mean, variance, projection, _fit_centroids(frames, min(n_centroids, len(frames)), seed))


def _fit_centroids(frames: np.ndarray, n_centroids: int, seed: int) -> np.ndarray:
    """(F, P) -> (K, P) float32, in seconds: they only say which places are worth a closer look."""
    means = MiniBatchKMeans(n_centroids, batch_size=4096, max_iter=10, n_init=1, random_state=seed)
    with threadpool_limits(1):  # the sums of several threads are not the same from run to run
        return means.fit(frames).cluster_centers_.astype(np.float32)


def _whitening_axes(normalised: np.ndarray, n_features: int) -> np.ndarray:
    """(D, P): the directions of the most variance, each divided by its deviation.

    A few directions hold most of a model's variance, and the voice and the position in the input most of those: with
    equal variances a word is found far better (docs/results/search.md). The mean is near 0 already.
    """
    covariance = normalised.T.astype(np.float64) @ normalised / len(normalised)
    variances, axes = np.linalg.eigh(covariance)
    kept = slice(-1, -n_features - 1, -1)
    return (axes[:, kept] / np.sqrt(np.maximum(variances[kept], LEAST_VARIANCE))).astype(np.float32)


def _compare(normalised: np.ndarray, projection: np.ndarray | None) -> np.ndarray:
    """(F, D) -> (F, P) float32 of unit length: one minus a dot product is the cosine distance."""
    projected = normalised if projection is None else normalised @ projection
    return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)


def prepare_features(features: np.ndarray, transform: Transform) -> np.ndarray:
    """(F, D) of one signal as the encoder gives them -> (F, P) float32 that are compared."""
    return _compare(normalise(features, transform.mean, transform.variance), transform.projection)


def encode_signals(encoder: Encoder, waveforms: Sequence[np.ndarray], transform: Transform) -> list[np.ndarray]:
    """List of (S,) float32 -> list of (F, P) float32 of unit length."""
    return [prepare_features(features, transform) for features in encode(encoder, waveforms)]


def nearest_centroids(frames: np.ndarray, transform: Transform) -> np.ndarray:
    """(F, P) -> (F,) codes, uint8 where they fit."""
    kind = np.uint8 if len(transform.centroids) <= 256 else np.uint16
    return assign(frames, transform.centroids).astype(kind)
