"""A search index: the features of every segment of a language, computed once and read memory-mapped.

``exp/<language>_index/`` holds ``index.json`` (what it was made from, written last), ``features.npy`` (F, P) float16,
``codes.npy`` (F,), ``bounds.npy`` (U + 1,) int64 in frames, and ``transform.npz``. A segment that could not be read has
no frames. Axes: F frames of all segments in a row, P features, U segments, in the order of segments.jsonl.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.arrays import read_array, read_arrays, write_arrays
from core.commands import as_typed
from core.errors import UserError
from core.files import read_json
from core.frames import frames_to_seconds
from core.records import SearchFeatures, SearchIndex, Segment
from languages import exp_root
from segmentation.manifest import read_manifest
from spoken_search.features import Transform

FORMAT, FORMAT_VERSION = "oral-units search index", 1


class Index(NamedTuple):
    """An index as it is searched; ``features`` and ``codes`` stay on disk."""

    folder: Path
    features: SearchFeatures
    segments: Sequence[Segment]
    digest: str  # of the list of segments
    bounds: np.ndarray  # (U + 1,) int64
    frames: np.ndarray  # (F, P) float16, of unit length
    codes: np.ndarray  # (F,) of the nearest centroid
    transform: Transform


def index_folder(language: str, tag: str = "") -> Path:
    """Where the index of a language lies."""
    return exp_root() / f"{language}_index{f'_{tag}' if tag else ''}"


def digest_segments(segments: Iterable[Segment]) -> str:
    """What the features of these segments depend on: which they are, in which order, how long."""
    digest = hashlib.sha256()
    for row in segments:
        digest.update(f"{row['id']}\t{row['audio']}\t{row['duration']:.4f}\n".encode())
    return digest.hexdigest()


def load_segments(manifest: Path) -> list[Segment]:
    """All rows of segments.jsonl; UserError where there are none."""
    segments = list(read_manifest(manifest))
    if not segments:
        raise UserError(f"{manifest}: expected segments, found an empty list; run scripts/segment_audio.py again")
    return segments


def is_whole(folder: Path) -> bool:
    return (folder / "index.json").is_file()


def command_to_make(folder: Path) -> str:
    """How to make the index in ``folder`` again."""
    language, _, tag = folder.name.partition("_index")
    tagged = ["--tag", tag.removeprefix("_")] if tag else []
    return as_typed("python", "src/index_speech.py", "--language", language, *tagged, "--overwrite")


def open_index(folder: Path, segments: Sequence[Segment]) -> Index:
    """The index of these segments. UserError where it is missing, damaged or of other segments."""
    command = command_to_make(folder)
    if not is_whole(folder):
        raise UserError(f"{folder}: expected a search index, found none; run: {command}")
    described: SearchIndex = read_json(folder / "index.json")
    whole = {"features", "segments", "n_segments"} <= described.keys()
    if not whole or described.get("format") != FORMAT or described.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{folder}: expected a search index of version {FORMAT_VERSION}, found another; run: {command}")
    digest = digest_segments(segments)
    if digest != described["segments"]:
        raise UserError(
            f"{folder}: expected the index of {len(segments)} segments as they are now, found that of "
            f"{described['n_segments']} others: recordings were added or cut again; run: {command}"
        )
    try:
        arrays = [read_array(folder / f"{name}.npy", mapped=True) for name in ("features", "codes")]
        bounds, transform = read_array(folder / "bounds.npy"), read_transform(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: expected a whole search index, found {error}; run: {command}") from error
    lengths = {len(arrays[0]), len(arrays[1]), int(bounds[-1]) if bounds.ndim == 1 and len(bounds) else -1}
    if len(lengths) > 1 or len(bounds) != len(segments) + 1:
        raise UserError(f"{folder}: expected a whole search index, found arrays of other lengths; run: {command}")
    return Index(folder, described["features"], segments, digest, bounds, *arrays, transform)


def require_features(index: Index, wanted: SearchFeatures) -> None:
    """UserError, naming the difference, where the index holds other features than those wanted."""
    for name, value in wanted.items():
        if index.features.get(name) != value:
            raise UserError(
                f"{index.folder}: expected an index with {name} {value}, found {index.features.get(name)}; leave the "
                "flag out, give another --tag, or make it again with src/index_speech.py --overwrite"
            )


def seconds_of(index: Index) -> float:
    return frames_to_seconds(int(index.bounds[-1]))


def write_transform(folder: Path, transform: Transform) -> None:
    arrays = {name: value for name, value in transform._asdict().items() if value is not None}
    write_arrays(folder / "transform.npz", **arrays)


def read_transform(folder: Path) -> Transform:
    arrays = read_arrays(folder / "transform.npz")
    return Transform(**{name: arrays.get(name) for name in Transform._fields})
