"""Clusters as scikit-learn estimators, for other tools, and back. Axes: D features, K units, P projected features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.errors import UserError
from units.clusters import UnitClusters


def as_estimator(clusters: UnitClusters):
    """The scikit-learn twin of the clusters (see ``save_kmeans``)."""
    books = [_as_kmeans(centroids) for centroids in clusters.books]
    if len(books) > 1:
        return books
    if clusters.projection is None and not clusters.mean.any() and (clusters.scale == 1).all():
        return books[0]
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_ = clusters.mean, clusters.scale
    scaler.var_, scaler.n_features_in_ = np.square(clusters.scale), len(clusters.scale)
    if clusters.projection is None:
        return make_pipeline(scaler, books[0])
    turning = PCA(clusters.projection.shape[1])
    turning.components_, turning.mean_ = clusters.projection.T, np.zeros_like(clusters.mean)
    turning.n_features_in_ = len(clusters.mean)
    turning.n_components_, turning.explained_variance_ = clusters.projection.shape[1], clusters.projection.var(axis=0)
    return make_pipeline(scaler, turning, books[0])


def _as_kmeans(centroids: np.ndarray) -> KMeans:
    # One iteration over the centroids themselves leaves them where they are and sets every fitted attribute.
    estimator = KMeans(len(centroids), init=centroids, n_init=1, max_iter=1).fit(centroids)
    estimator.cluster_centers_ = centroids
    return estimator


def read_estimator(path: Path) -> UnitClusters:
    """The clusters of a pickled k-means, alone or at the end of a pipeline. Reading a pickle can run any code."""
    import joblib  # reads plain pickles and joblib's own; only ever reached with --trust_pickle

    try:
        estimator = joblib.load(path)
    except Exception as error:  # whatever the bytes of a damaged pickle lead to
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{path}: expected a scikit-learn k-means, found: {type(error).__name__}: {reason:.200}; save it again"
        ) from error
    *before, last = (step for _, step in getattr(estimator, "steps", [("", estimator)]))
    books = [_read_centroids(path, book) for book in (last if isinstance(last, list) else [last])]
    if len({book.shape for book in books}) != 1:
        raise UserError(f"{path}: expected centroids of one shape, found {[book.shape for book in books]}")
    return _behind_steps(path, [step for step in before if step not in (None, "passthrough")], books)


def _read_centroids(path: Path, estimator: object) -> np.ndarray:
    """(K, D) float32 of a fitted KMeans or MiniBatchKMeans: no other estimator assigns as ``assign`` does."""
    centroids = getattr(estimator, "cluster_centers_", None)
    if not isinstance(estimator, (KMeans, MiniBatchKMeans)) or centroids is None:
        fitted = "one that is not fitted" if isinstance(estimator, (KMeans, MiniBatchKMeans)) else "this"
        raise UserError(
            f"{path}: expected a fitted scikit-learn KMeans, alone or at the end of a pipeline, found {fitted}: "
            f"{type(estimator).__name__}"
        )
    return np.asarray(centroids, np.float32)


def _behind_steps(path: Path, steps: Sequence[object], books: Sequence[np.ndarray]) -> UnitClusters:
    """The clusters with all steps of a pipeline as one: (x - mean) / scale @ projection, added up in float64."""
    n_features = getattr(steps[0], "n_features_in_", 0) if steps else books[0].shape[1]
    mean, scale, projection = np.zeros(n_features), np.ones(n_features), None
    for step in steps:
        offset, factors = _read_step(path, step)
        mean = mean + scale * (offset if projection is None else offset @ np.linalg.pinv(projection))
        if projection is None and factors.ndim == 1:
            scale = scale / factors
            continue
        matrix = np.diag(factors) if factors.ndim == 1 else factors
        projection = matrix if projection is None else projection @ matrix
    if projection is not None:
        projection = projection.astype(np.float32)
    return UnitClusters(books, mean.astype(np.float32), scale.astype(np.float32), projection=projection)


def _read_step(path: Path, step: object) -> tuple[np.ndarray, np.ndarray]:
    """A step of a pipeline as (offset (D,), factors (D,) or (D, P)): it makes (x - offset) * or @ factors of x."""
    if type(step) is StandardScaler and hasattr(step, "n_features_in_"):
        zeros, ones = np.zeros(step.n_features_in_), np.ones(step.n_features_in_)
        return step.mean_ if step.with_mean else zeros, 1 / (step.scale_ if step.with_std else ones)
    if type(step) is PCA and hasattr(step, "components_"):
        return step.mean_, step.transform(np.eye(step.n_features_in_) + step.mean_)
    raise UserError(
        f"{path}: expected fitted StandardScaler and PCA steps before the k-means, found {type(step).__name__}; "
        "let phase 1 fit its own (leave --kmeans out)"
    )
