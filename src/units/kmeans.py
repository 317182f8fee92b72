"""k-means over feature frames: which frames to fit on, the fit, the assignment, the files.

``kmeans.npz`` holds ``centroids`` (K, D), ``mean`` (D,), ``scale`` (D,), with several streams ``residual_centroids``
(N - 1, K, D), all float32, and ``description``, a string of JSON with the encoder they belong to. Those of a pipeline
with a PCA hold ``projection`` (D, P) too, and centroids of P numbers. Where features are normalised by speaker, there
are ``speaker_means`` and ``speaker_deviations`` (S + 1, D), the last row for unknown speakers, and ``speaker_names``,
bytes of JSON. Those that learned noise (units.denoising) hold the weights of a network, ``denoiser.…``.

Axes: F frames, D features, K units, N streams, S speakers.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from core.arrays import read_arrays, write_arrays
from core.errors import UserError
from core.files import write_atomically
from core.hashing import hash_fraction
from core.records import EncoderOrigin
from languages import command_for_folder
from units.assignment import assign, assign_smoothly, neighbour_distance
from units.clusters import UnitClusters
from units.denoising import denoise, denoiser_arrays, read_denoiser
from units.estimators import as_estimator, read_estimator
from units.speaker_statistics import (
    Spans,
    SpeakerStatistics,
    forget_speakers,
    measure_speakers,
    normalise_spans,
    normalise_speaker,
)

REQUIRED_ARRAYS = ("centroids", "mean", "scale")
MAX_ITERATIONS = 100
REFITS = 4  # rounds of paths and means
# Measured on MFCC: unit variance keeps most of what tells sounds apart, none keeps most of the spectrum (c0 rules the
# distance); the root keeps as much of the sounds as unit variance and more of the spectrum.
NORMALIZATIONS = {"unit": 1.0, "root": 0.5, "off": 0.0, "speaker": 1.0, "speaker_root": 0.5}
# These look at each speaker's features through the speaker's own mean and deviation first.
SPEAKER_NORMALIZATIONS = {"speaker", "speaker_root"}
# Two partial sums added in either order are the same number; three are not. More threads would not be reproducible.
FIT_THREADS = 2


def sample_frames(features: np.ndarray, share: float, seed: int, utterance_id: str) -> np.ndarray:
    """A random ``share`` of the rows of (F, D) in their order; which ones is a function of the seed and the id."""
    if share >= 1:
        return features
    count = int(len(features) * share + hash_fraction(seed, "round", utterance_id))
    random = np.random.default_rng(int(hash_fraction(seed, "frames", utterance_id) * 2**53))
    return features[np.sort(random.permutation(len(features))[:count])]


def fit_kmeans(
    features: np.ndarray,
    n_units: int,
    *,
    n_streams: int = 1,
    normalize: str = "unit",
    seed: int = 0,
    spans: Spans = (),
    widths: Sequence[int] = (),
    separate: bool = False,
) -> UnitClusters:
    """Fit K = ``n_units`` clusters on (F, D) float32, with ``n_streams`` > 1 also on what the first leave over.

    Full Lloyd iterations from one k-means++ start, reproducible bit by bit at the same thread count. ``normalize``
    names the power in ``NORMALIZATIONS`` of each feature's standard deviation that it is divided by, after its mean is
    taken away; with "off" features stay as they are. Those of ``SPEAKER_NORMALIZATIONS`` need the ``spans`` of the
    utterances: what each speaker adds is taken away first.

    ``widths``: the sizes of several feature sets that stand next to each other in D; all get the same total variance.
    ``separate`` gives each set ``n_streams`` streams of its own, instead of clustering all together: residual streams
    over several layers (J. Shi et al., "MMM", 2024). Raises UserError for fewer frames than units and for features
    that are not finite.
    """
    if len(features) < n_units:
        raise UserError(f"expected at least {n_units} training frames for {n_units} units, found {len(features)}")
    if not np.isfinite(features).all():
        raise UserError("expected finite features, found NaN or Inf; try --mixed_precision no")
    speakers = measure_speakers(features, spans) if normalize in SPEAKER_NORMALIZATIONS else None
    features = normalise_spans(features, speakers, spans) if speakers else features
    mean, scale = _statistics(features, normalize, widths)
    residual, books = features - mean, []
    residual /= scale  # in place: beside what was given there is one array of its size in memory, not two
    for columns in _columns(widths, features.shape[1], separate=separate):
        for stream in range(n_streams):
            is_last = stream + 1 == n_streams
            book = _fit_book(residual[:, columns], n_units, seed + len(books), keep=not is_last)
            books.append(_widen(book, columns, features.shape[1]))
            if not is_last:
                residual[:, columns] -= book[assign(residual[:, columns], book)]
    return UnitClusters(books, mean, scale, speakers=speakers)


def _statistics(features: np.ndarray, normalize: str, widths: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    if normalize == "off":
        mean, scale = np.zeros(features.shape[1], np.float64), np.ones(features.shape[1], np.float64)
    else:
        scale = features.std(axis=0, dtype=np.float64) ** NORMALIZATIONS[normalize]
        scale[scale < 1e-6] = 1.0  # a constant feature must not become 0 / 0
        mean = features.mean(axis=0, dtype=np.float64)
    if len(widths) > 1:
        scale *= _even_out(features.var(axis=0, dtype=np.float64) / np.square(scale), widths)
    return mean.astype(np.float32), scale.astype(np.float32)


def _even_out(variances: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """(D,) factors of the scale that give every feature set the total variance of the first, from (D,) variances."""
    totals = [variances[columns].sum() for columns in _columns(widths, len(variances), separate=True)]
    factors = [np.sqrt(total / totals[0]) if total > 0 and totals[0] > 0 else 1.0 for total in totals]
    return np.repeat(factors, widths)


def _columns(widths: Sequence[int], n_features: int, *, separate: bool) -> list[slice]:
    """The columns of each feature set, where they are ``separate``; else all of them."""
    if not separate:
        return [slice(0, n_features)]
    ends = np.cumsum(widths)
    return [slice(int(end) - width, int(end)) for width, end in zip(widths, ends)]


def _widen(book: np.ndarray, columns: slice, n_features: int) -> np.ndarray:
    """(K, D) centroids of some columns among all: the others are 0, which is as far from each of them."""
    wide = np.zeros((len(book), n_features), np.float32)
    wide[:, columns] = book
    return wide


def _fit_book(features: np.ndarray, n_units: int, seed: int, *, keep: bool) -> np.ndarray:
    """(K, D) centroids of (F, D); without ``keep``, the features may be changed, which saves a copy of them."""
    settings = {"max_iter": MAX_ITERATIONS, "tol": 1e-4, "random_state": seed, "copy_x": keep}
    estimator = KMeans(n_units, init="k-means++", n_init=1, **settings)
    with threadpool_limits(FIT_THREADS):
        return estimator.fit(features).cluster_centers_.astype(np.float32)


def quantize_to_units(features: np.ndarray, clusters: UnitClusters, speaker: str | None = None) -> np.ndarray:
    """(F, D) float32 of an utterance -> (F, N) int64 in [0, K): nearest centroid, then that to what it leaves over.

    With ``switch_costs``, each stream is the best path instead of the nearest centroids, one after the other: a stream
    takes what the path before it leaves over. F must then be a whole utterance, since a path looks ahead, and so must
    it be with a ``denoiser``. ``speaker`` (units.speaker_statistics.speaker_key) counts where clusters are normalised
    by speaker.
    """
    residual, streams = scale_features(features, clusters, speaker), []
    if clusters.denoiser is not None:
        residual = denoise(residual, clusters.denoiser)
    for stream, centroids in enumerate(clusters.books):
        cost = clusters.switch_costs[stream] if clusters.switch_costs else 0.0
        streams.append(assign_smoothly(residual, centroids, cost) if cost else assign(residual, centroids))
        residual = residual - centroids[streams[-1]]
    return np.stack(streams, axis=1)


def scale_features(features: np.ndarray, clusters: UnitClusters, speaker: str | None = None) -> np.ndarray:
    """(F, D) float32 of an utterance as distances to the centroids are taken: (F, D), or (F, P) with a projection."""
    n_features = len(clusters.mean)
    if features.shape[1] != n_features:
        raise UserError(
            f"expected {n_features} features a frame, found {features.shape[1]}; "
            "use the encoder and options the clusters were made with"
        )
    if clusters.speakers is not None:
        features = normalise_speaker(features, clusters.speakers, speaker)
    return _scaled(features, clusters)


def _scaled(features: np.ndarray, clusters: UnitClusters) -> np.ndarray:
    scaled = (features - clusters.mean) / clusters.scale
    return scaled if clusters.projection is None else scaled @ clusters.projection


def refit_on_paths(
    features: np.ndarray, clusters: UnitClusters, duration_penalty: float, spans: Spans = ()
) -> UnitClusters:
    """Centroids for units with a ``duration_penalty``: means of the frames that the best paths give them.

    Paths and means in turn, as k-means does with the nearest centroids, from ``clusters`` on. (F, D) features are whole
    utterances, one after the other; ``spans`` are needed where clusters are normalised by speaker. A later stream is
    fitted on what the paths before it leave over.
    """
    features = normalise_spans(features, clusters.speakers, spans) if clusters.speakers else features
    residual, books = _scaled(features, clusters), []
    for first in clusters.books:
        book = first
        for _ in range(REFITS):
            book = _means_on_path(residual, book, duration_penalty)
        books.append(book)
        residual = residual - book[assign_smoothly(residual, book, duration_penalty * neighbour_distance(book))]
    return penalise(clusters._replace(books=books), duration_penalty)


def _means_on_path(features: np.ndarray, book: np.ndarray, duration_penalty: float) -> np.ndarray:
    """(K, D): the mean of each unit's frames on the best path; a unit without frames stays where it is.

    Columns of other feature sets stay 0.
    """
    units = assign_smoothly(features, book, duration_penalty * neighbour_distance(book))
    counts = np.bincount(units, minlength=len(book))[:, None]
    sums = np.stack([np.bincount(units, weights=column, minlength=len(book)) for column in features.T], axis=1)
    return np.where((counts > 0) & (book != 0).any(axis=0), sums / np.maximum(counts, 1), book).astype(np.float32)


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
    normalised; with several streams a list of one KMeans a stream for normalised features. There is none where features
    are normalised by speaker, which scikit-learn has no step for. A denoiser is in the .npz alone: on clean recordings
    the pickle's units are near it.
    """

    def write_pickle(path: Path) -> None:
        path.write_bytes(pickle.dumps(as_estimator(clusters)))

    if clusters.speakers is None:
        write_atomically(folder / "kmeans.pkl", write_pickle)
    write_arrays(folder / "kmeans.npz", **_named_arrays(clusters), description=np.array(_description_text(description)))


def _named_arrays(clusters: UnitClusters) -> dict[str, np.ndarray]:
    first, *residual = clusters.books
    arrays = {"centroids": first, "mean": clusters.mean, "scale": clusters.scale}
    arrays |= {} if clusters.projection is None else {"projection": clusters.projection}
    arrays |= _speaker_arrays(clusters.speakers) if clusters.speakers else {}
    arrays |= denoiser_arrays(clusters.denoiser)
    return {**arrays, "residual_centroids": np.stack(residual)} if residual else arrays


def _speaker_arrays(speakers: SpeakerStatistics) -> dict[str, np.ndarray]:
    """The names as bytes of JSON, since a safetensors file holds numbers alone."""
    names = np.frombuffer(json.dumps(speakers.names).encode(), np.uint8)
    return {"speaker_names": names, "speaker_means": speakers.means, "speaker_deviations": speakers.deviations}


def _read_speakers(arrays: Mapping[str, np.ndarray]) -> SpeakerStatistics | None:
    if "speaker_names" not in arrays:
        return None
    names = json.loads(arrays["speaker_names"].tobytes())
    return SpeakerStatistics(names, arrays["speaker_means"], arrays["speaker_deviations"])


def _description_text(description: EncoderOrigin) -> str:
    return json.dumps(description, sort_keys=True)


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
    return read_estimator(path)


def _read_npz(path: Path) -> UnitClusters:
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected the arrays of a k-means, found: {error}; rerun phase 1") from error
    description = arrays.get("description")
    return _from_arrays(path, arrays, None if description is None else str(description))


def _from_arrays(path: Path, arrays: Mapping[str, np.ndarray], description: str | None) -> UnitClusters:
    missing = [name for name in REQUIRED_ARRAYS if name not in arrays]
    if missing:
        raise UserError(f"{path}: expected the arrays {', '.join(REQUIRED_ARRAYS)}, missing {', '.join(missing)}")
    centroids, mean, scale = (arrays[name] for name in REQUIRED_ARRAYS)
    books = [centroids, *arrays.get("residual_centroids", ())]
    _check_books(path, books, mean, scale, arrays.get("projection"))
    origin = None if description is None else _read_origin(path, description)
    clusters = UnitClusters(books, mean, scale, origin, arrays.get("projection"), speakers=_read_speakers(arrays))
    try:
        clusters = clusters._replace(denoiser=read_denoiser(arrays))
    except ValueError as error:
        raise UserError(
            f"{path}: expected the weights of a denoiser of units, found: {error}; copy it again"
        ) from error
    return penalise(clusters, read_duration_penalty(origin))


def _check_books(
    path: Path, books: Sequence[np.ndarray], mean: np.ndarray, scale: np.ndarray, projection: np.ndarray | None
) -> None:
    """UserError for arrays that are no clusters: of other shapes, in words, or not finite."""
    arrays = [*books, mean, scale, *([] if projection is None else [projection])]
    if not all(array.dtype.kind in "fiu" for array in arrays) or not all(np.isfinite(array).all() for array in arrays):
        raise UserError(f"{path}: expected finite numbers, found others; copy it again, or rerun phase 1")
    width = len(mean) if projection is None else projection.shape[-1]
    fits = mean.ndim == 1 and mean.shape == scale.shape and (scale > 0).all()
    if not fits or any(book.ndim != 2 or book.shape[1] != width or not len(book) for book in books):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise UserError(f"{path}: expected centroids (K, D) with a mean and a scale above 0 (D,), found {shapes}")


def _read_origin(path: Path, description: str) -> EncoderOrigin:
    try:
        origin = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected a description in JSON, found {error}; copy it again") from error
    if not isinstance(origin, dict):
        raise UserError(f"{path}: expected an encoder in its description, found {description:.60}; copy it again")
    return origin


def save_safetensors(path: Path, clusters: UnitClusters) -> None:
    """Write the arrays for a saved voice; the description of the encoder stands in the file's metadata.

    No speaker is named: a voice hears new recordings, and a name of another language could be anybody's.
    """
    clusters = clusters._replace(speakers=clusters.speakers and forget_speakers(clusters.speakers))
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


def read_description(clusters: UnitClusters) -> EncoderOrigin | None:
    """The encoder, layer and options the clusters belong to; None where the file does not say."""
    return clusters.description


def read_duration_penalty(description: EncoderOrigin | None) -> float:
    """The penalty that the units of these clusters are found with; 0 where the description says nothing."""
    return (description or {}).get("duration_penalty", 0.0)
