"""k-means over feature frames: which frames to fit on, the fit, the assignment, the files.

``kmeans.npz`` holds ``centroids`` (K, D), ``mean`` (D,), ``scale`` (D,), with several streams ``residual_centroids``
(N - 1, K, D), all float32, and ``description``, a string of JSON with the encoder they belong to. Those of a pipeline
with a PCA hold ``projection`` (D, P) too, and centroids of P numbers. Axes: F frames, D features, K units, N streams.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from core.errors import UserError
from core.files import write_atomically
from core.hashing import hash_fraction
from core.records import EncoderOrigin
from languages import command_for_folder
from units.assignment import assign, assign_smoothly, neighbour_distance

REQUIRED_ARRAYS = ("centroids", "mean", "scale")
MAX_ITERATIONS = 100
REFITS = 4  # rounds of paths and means
# Measured on MFCC: unit variance keeps most of what tells sounds apart, none keeps most of the spectrum (c0 rules the
# distance); the root keeps as much of the sounds as unit variance and more of the spectrum.
NORMALIZATIONS = {"unit": 1.0, "root": 0.5, "off": 0.0}
# Two partial sums added in either order are the same number; three are not. More threads would not be reproducible.
FIT_THREADS = 2


class UnitClusters(NamedTuple):
    """What turns features into units."""

    books: Sequence[np.ndarray]  # N times (K, D) float32: the first stream's centroids, then the residual ones
    mean: np.ndarray  # (D,) float32, taken away from features
    scale: np.ndarray  # (D,) float32, that they are divided by
    description: EncoderOrigin | None = None
    projection: np.ndarray | None = None  # (D, P) float32 that scaled features are multiplied by; centroids are (K, P)
    switch_costs: Sequence[float] = ()  # N squared distances that a change of unit costs; none where it costs nothing


def sample_frames(features: np.ndarray, share: float, seed: int, utterance_id: str) -> np.ndarray:
    """A random ``share`` of the rows of (F, D) in their order; which ones is a function of the seed and the id."""
    if share >= 1:
        return features
    count = int(len(features) * share + hash_fraction(seed, "round", utterance_id))
    random = np.random.default_rng(int(hash_fraction(seed, "frames", utterance_id) * 2**53))
    return features[np.sort(random.permutation(len(features))[:count])]


def fit_kmeans(
    features: np.ndarray, n_units: int, *, n_streams: int = 1, normalize: str = "unit", seed: int = 0
) -> UnitClusters:
    """Fit K = ``n_units`` clusters on (F, D) float32, with ``n_streams`` > 1 also on what the first leave over.

    Full Lloyd iterations from one k-means++ start, reproducible bit by bit at the same thread count. ``normalize``
    names the power in ``NORMALIZATIONS`` of each feature's standard deviation that it is divided by, after its mean is
    taken away; with "off" features stay as they are. Raises UserError for fewer frames than units and for features
    that are not finite.
    """
    if len(features) < n_units:
        raise UserError(f"expected at least {n_units} training frames for {n_units} units, found {len(features)}")
    if not np.isfinite(features).all():
        raise UserError("expected finite features, found NaN or Inf; try --mixed_precision no")
    mean, scale = _statistics(features, normalize)
    residual, books = (features - mean) / scale, []
    for stream in range(n_streams):
        books.append(_fit_book(residual, n_units, seed + stream))
        if stream + 1 < n_streams:
            residual = residual - books[-1][assign(residual, books[-1])]
    return UnitClusters(books, mean, scale)


def _statistics(features: np.ndarray, normalize: str) -> tuple[np.ndarray, np.ndarray]:
    if normalize == "off":
        return np.zeros(features.shape[1], np.float32), np.ones(features.shape[1], np.float32)
    scale = features.std(axis=0, dtype=np.float64) ** NORMALIZATIONS[normalize]
    scale[scale < 1e-6] = 1.0  # a constant feature must not become 0 / 0
    return features.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def _fit_book(features: np.ndarray, n_units: int, seed: int) -> np.ndarray:
    estimator = KMeans(n_units, init="k-means++", n_init=1, max_iter=MAX_ITERATIONS, tol=1e-4, random_state=seed)
    with threadpool_limits(FIT_THREADS):
        return estimator.fit(features).cluster_centers_.astype(np.float32)


def quantize_to_units(features: np.ndarray, clusters: UnitClusters) -> np.ndarray:
    """(F, D) float32 -> (F, N) int64 in [0, K): nearest centroid, then the nearest to what it leaves over.

    With ``switch_costs``, each stream is the best path instead of the nearest centroids, one after the other: a stream
    takes what the path before it leaves over. F must then be a whole utterance, since a path looks ahead.
    """
    n_features = len(clusters.mean)
    if features.shape[1] != n_features:
        raise UserError(
            f"expected {n_features} features a frame, found {features.shape[1]}; "
            "use the encoder and options the clusters were made with"
        )
    residual, streams = _scaled(features, clusters), []
    for stream, centroids in enumerate(clusters.books):
        cost = clusters.switch_costs[stream] if clusters.switch_costs else 0.0
        streams.append(assign_smoothly(residual, centroids, cost) if cost else assign(residual, centroids))
        residual = residual - centroids[streams[-1]]
    return np.stack(streams, axis=1)


def _scaled(features: np.ndarray, clusters: UnitClusters) -> np.ndarray:
    scaled = (features - clusters.mean) / clusters.scale
    return scaled if clusters.projection is None else scaled @ clusters.projection


def refit_on_paths(features: np.ndarray, clusters: UnitClusters, duration_penalty: float) -> UnitClusters:
    """Centroids for units with a ``duration_penalty``: means of the frames that the best paths give them.

    Paths and means in turn, as k-means does with the nearest centroids, from ``clusters`` on. (F, D) features are whole
    utterances, one after the other. A later stream is fitted on what the paths before it leave over.
    """
    residual, books = _scaled(features, clusters), []
    for first in clusters.books:
        book = first
        for _ in range(REFITS):
            book = _means_on_path(residual, book, duration_penalty)
        books.append(book)
        residual = residual - book[assign_smoothly(residual, book, duration_penalty * neighbour_distance(book))]
    return penalise(clusters._replace(books=books), duration_penalty)


def _means_on_path(features: np.ndarray, book: np.ndarray, duration_penalty: float) -> np.ndarray:
    """(K, D): the mean of each unit's frames on the best path; a unit without frames stays where it is."""
    units = assign_smoothly(features, book, duration_penalty * neighbour_distance(book))
    counts = np.bincount(units, minlength=len(book))[:, None]
    sums = np.stack([np.bincount(units, weights=column, minlength=len(book)) for column in features.T], axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), book).astype(np.float32)


def penalise(clusters: UnitClusters, duration_penalty: float) -> UnitClusters:
    """The clusters with ``duration_penalty`` as the cost of a change, in units of each book's neighbour distance."""
    costs = [duration_penalty * neighbour_distance(book) for book in clusters.books] if duration_penalty else ()
    return clusters._replace(switch_costs=costs)


def unit_counts(clusters: UnitClusters) -> tuple[int, int]:
    """(n_units, n_streams)."""
    return len(clusters.books[0]), len(clusters.books)


def save_kmeans(folder: Path, clusters: UnitClusters, description: EncoderOrigin) -> None:
    """Write ``kmeans.pkl`` for other tools, then ``kmeans.npz``, the one we read; the latter marks the fit complete.

    The pickle holds a scikit-learn estimator for raw features: a KMeans, behind a StandardScaler where features are
    normalised; with several streams a list of one KMeans a stream for normalised features.
    """

    def write_pickle(path: Path) -> None:
        path.write_bytes(pickle.dumps(as_estimator(clusters)))

    def write_arrays(path: Path) -> None:
        with open(path, "wb") as out:
            np.savez(out, **_named_arrays(clusters), description=np.array(_description_text(description)))

    write_atomically(folder / "kmeans.pkl", write_pickle)
    write_atomically(folder / "kmeans.npz", write_arrays)


def _named_arrays(clusters: UnitClusters) -> dict[str, np.ndarray]:
    first, *residual = clusters.books
    arrays = {"centroids": first, "mean": clusters.mean, "scale": clusters.scale}
    arrays |= {} if clusters.projection is None else {"projection": clusters.projection}
    return {**arrays, "residual_centroids": np.stack(residual)} if residual else arrays


def _description_text(description: EncoderOrigin) -> str:
    return json.dumps(description, sort_keys=True)


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


def load_kmeans(path: Path, *, trust_pickle: bool = False) -> UnitClusters:
    """Read ``kmeans.npz``, or the ``units.safetensors`` of a saved voice.

    A pickle can run any code when it is read, so a ``.pkl`` is refused without trust. Raises UserError for a missing,
    foreign or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        command = command_for_folder("run_phase1.sh", path.parent)
        raise UserError(f"{path}: expected k-means clusters, found no file; run: {command}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    if not trust_pickle:
        raise UserError(
            f"{path}: expected a kmeans.npz; a pickle can run any code, so it is read with --trust_pickle only"
        )
    return _read_estimator(path)


def _read_npz(path: Path) -> UnitClusters:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected the arrays of a k-means, found: {error}; rerun phase 1") from error
    description = arrays.get("description")
    return _from_arrays(path, arrays, None if description is None else str(description))


def _from_arrays(path: Path, arrays: Mapping[str, np.ndarray], description: str | None) -> UnitClusters:
    missing = [name for name in REQUIRED_ARRAYS if name not in arrays]
    if missing:
        raise UserError(f"{path}: expected the arrays {', '.join(REQUIRED_ARRAYS)}, missing {', '.join(missing)}")
    centroids, mean, scale = (arrays[name] for name in REQUIRED_ARRAYS)
    books = [centroids, *arrays.get("residual_centroids", ())]
    origin = None if description is None else json.loads(description)
    clusters = UnitClusters(books, mean, scale, origin, arrays.get("projection"))
    return penalise(clusters, read_duration_penalty(origin))


def save_safetensors(path: Path, clusters: UnitClusters) -> None:
    """Write the arrays for a saved voice; the description of the encoder stands in the file's metadata."""
    arrays = {name: np.ascontiguousarray(values) for name, values in _named_arrays(clusters).items()}
    metadata = {"description": _description_text(clusters.description)} if clusters.description else None
    write_atomically(path, lambda temporary: temporary.write_bytes(save(arrays, metadata=metadata)))


def _read_safetensors(path: Path) -> UnitClusters:
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: expected the arrays of a k-means, found: {error}; export the voice again") from error
    return _from_arrays(path, arrays, metadata.get("description"))


def _read_estimator(path: Path) -> UnitClusters:
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


def read_description(clusters: UnitClusters) -> EncoderOrigin | None:
    """The encoder, layer and options the clusters belong to; None where the file does not say."""
    return clusters.description


def read_duration_penalty(description: EncoderOrigin | None) -> float:
    """The penalty that the units of these clusters are found with; 0 where the description says nothing."""
    return (description or {}).get("duration_penalty", 0.0)
