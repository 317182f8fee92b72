"""k-means over feature frames: which frames to fit on, the fit, the assignment, the files.

Axes: F frames, D features, K units. A k-means is a plain dict of arrays, as in ``kmeans.npz``: ``centroids`` (K, D),
``mean`` (D,), ``scale`` (D,), with several streams ``residual_centroids`` (streams - 1, K, D), all float32, and
``description``, a string with the encoder they belong to.
"""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from core.errors import UserError
from core.files import write_atomically
from core.hashing import hash_fraction

ARRAYS = ("centroids", "mean", "scale", "residual_centroids")
MAX_ITERATIONS = 100
# Measured on MFCC: unit variance keeps most of what tells sounds apart, none keeps most of the spectrum (c0 rules the
# distance); the root keeps as much of the sounds as unit variance and more of the spectrum.
NORMALIZATIONS = {"unit": 1.0, "root": 0.5, "off": 0.0}
# Two partial sums added in either order are the same number; three are not. More threads would not be reproducible.
FIT_THREADS = 2
ASSIGN_BLOCK = 4096  # frames


def sample_frames(features: np.ndarray, share: float, seed: int, utterance_id: str) -> np.ndarray:
    """A random ``share`` of the rows of (F, D) in their order; which ones is a function of the seed and the id."""
    if share >= 1:
        return features
    count = int(len(features) * share + hash_fraction(seed, "round", utterance_id))
    random = np.random.default_rng(int(hash_fraction(seed, "frames", utterance_id) * 2**53))
    return features[np.sort(random.permutation(len(features))[:count])]


def fit_kmeans(
    features: np.ndarray, n_units: int, *, n_streams: int = 1, normalize: str = "unit", seed: int = 0
) -> dict:
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
    kmeans = {"centroids": books[0], "mean": mean, "scale": scale}
    return {**kmeans, "residual_centroids": np.stack(books[1:])} if n_streams > 1 else kmeans


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


def assign(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of the nearest centroid (Euclidean) of each row: (F, D), (K, D) -> (F,) int64."""
    half_norms = 0.5 * np.square(centroids).sum(axis=1)
    blocks = [features[start : start + ASSIGN_BLOCK] for start in range(0, len(features), ASSIGN_BLOCK)]
    found = [np.argmin(half_norms - block @ centroids.T, axis=1) for block in blocks]
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def quantize_to_units(features: np.ndarray, kmeans: dict) -> np.ndarray:
    """(F, D) float32 -> (F, streams) int64 in [0, K): nearest centroid, then the nearest to what it leaves over."""
    if features.shape[1] != len(kmeans["mean"]):
        raise UserError(
            f"expected {len(kmeans['mean'])} features a frame, found {features.shape[1]}; "
            "use the encoder and options the clusters were made with"
        )
    residual, streams = (features - kmeans["mean"]) / kmeans["scale"], []
    for centroids in (kmeans["centroids"], *kmeans.get("residual_centroids", ())):
        streams.append(assign(residual, centroids))
        residual = residual - centroids[streams[-1]]
    return np.stack(streams, axis=1)


def unit_counts(kmeans: dict) -> tuple[int, int]:
    """(n_units, n_streams)."""
    return len(kmeans["centroids"]), 1 + len(kmeans.get("residual_centroids", ()))


def save_kmeans(folder: Path, kmeans: dict, description: dict) -> None:
    """Write ``kmeans.pkl`` for other tools, then ``kmeans.npz``, the one we read; the latter marks the fit complete.

    The pickle holds a scikit-learn estimator for raw features: a KMeans, behind a StandardScaler where features are
    normalised; with several streams a list of one KMeans a stream for normalised features.
    """

    def write_pickle(path: Path) -> None:
        path.write_bytes(pickle.dumps(as_estimator(kmeans)))

    def write_arrays(path: Path) -> None:
        arrays = {name: kmeans[name] for name in ARRAYS if name in kmeans}
        with open(path, "wb") as out:
            np.savez(out, **arrays, description=np.array(json.dumps(description, sort_keys=True)))

    write_atomically(folder / "kmeans.pkl", write_pickle)
    write_atomically(folder / "kmeans.npz", write_arrays)


def as_estimator(kmeans: dict):
    """The scikit-learn twin of a k-means (see ``save_kmeans``)."""
    books = [_as_kmeans(centroids) for centroids in (kmeans["centroids"], *kmeans.get("residual_centroids", ()))]
    if len(books) > 1:
        return books
    if not kmeans["mean"].any() and (kmeans["scale"] == 1).all():
        return books[0]
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_ = kmeans["mean"], kmeans["scale"]
    scaler.var_, scaler.n_features_in_ = np.square(kmeans["scale"]), len(kmeans["scale"])
    return make_pipeline(scaler, books[0])


def _as_kmeans(centroids: np.ndarray) -> KMeans:
    # One iteration over the centroids themselves leaves them where they are and sets every fitted attribute.
    estimator = KMeans(len(centroids), init=centroids, n_init=1, max_iter=1).fit(centroids)
    estimator.cluster_centers_ = centroids
    return estimator


def load_kmeans(path: Path, *, trust_pickle: bool = False) -> dict:
    """Read ``kmeans.npz``, or the ``units.safetensors`` of a saved voice.

    A pickle can run any code when it is read, so a ``.pkl`` is refused without trust. Raises UserError for a missing,
    foreign or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: expected k-means clusters, found no file; run: bash scripts/run_phase1.sh <language>")
    if path.suffix == ".safetensors":
        return _check_arrays(path, _read_safetensors(path))
    if path.suffix != ".npz":
        if not trust_pickle:
            raise UserError(
                f"{path}: expected a kmeans.npz; a pickle can run any code, so it is read with --trust_pickle only"
            )
        return _from_estimator(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kmeans = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected the arrays of a k-means, found: {error}; rerun phase 1") from error
    return _check_arrays(path, kmeans)


def _check_arrays(path: Path, kmeans: dict) -> dict:
    missing = [name for name in ARRAYS[:3] if name not in kmeans]
    if missing:
        raise UserError(f"{path}: expected the arrays {', '.join(ARRAYS[:3])}, missing {', '.join(missing)}")
    return kmeans


def save_safetensors(path: Path, kmeans: dict) -> None:
    """Write the arrays for a saved voice; the description of the encoder stands in the file's metadata."""
    arrays = {name: np.ascontiguousarray(kmeans[name]) for name in ARRAYS if name in kmeans}
    metadata = {"description": str(kmeans["description"])} if "description" in kmeans else None
    write_atomically(path, lambda temporary: temporary.write_bytes(save(arrays, metadata=metadata)))


def _read_safetensors(path: Path) -> dict:
    try:
        with safe_open(path, framework="numpy") as arrays:
            kmeans = {name: arrays.get_tensor(name) for name in arrays.keys()}
            metadata = arrays.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: expected the arrays of a k-means, found: {error}; export the voice again") from error
    return kmeans | ({"description": np.array(metadata["description"])} if "description" in metadata else {})


def _from_estimator(path: Path) -> dict:
    import joblib  # reads plain pickles and joblib's own; only ever reached with --trust_pickle

    estimator = joblib.load(path)
    books = estimator if isinstance(estimator, list) else [getattr(estimator, "steps", [("", estimator)])[-1][1]]
    if not all(hasattr(book, "cluster_centers_") for book in books):
        raise UserError(f"{path}: expected a scikit-learn k-means, found {type(estimator).__name__}")
    centroids = np.stack([book.cluster_centers_ for book in books]).astype(np.float32)
    mean, scale = np.zeros(centroids.shape[2], np.float32), np.ones(centroids.shape[2], np.float32)
    if len(getattr(estimator, "steps", ())) == 2:
        scaler = estimator.steps[0][1]
        mean, scale = scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32)
    kmeans = {"centroids": centroids[0], "mean": mean, "scale": scale}
    return {**kmeans, "residual_centroids": centroids[1:]} if len(books) > 1 else kmeans


def read_description(kmeans: dict) -> dict | None:
    """The encoder, layer and options the clusters belong to; None where the file does not say."""
    return json.loads(str(kmeans["description"])) if "description" in kmeans else None
