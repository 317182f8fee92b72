"""Makes a search index: a sample to fit on, then every segment, shard by shard, then one file.

A run that was killed goes on after its last whole shard, and ends with the same bytes. Memory holds a shard at a time.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from audio.audio_io import read_waveform
from core.arrays import read_arrays, write_array, write_arrays
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.hashing import hash_fraction
from core.locks import only_run
from core.read_ahead import map_ahead
from core.records import FailedItem, SearchFeatures, Segment
from encoders.encode import Encoder, encode
from languages import resolve_in
from segmentation.manifest import count_frames, cut_shards
from spoken_search.features import Transform, fit_transform, nearest_centroids, open_search_encoder, prepare_features
from spoken_search.index import (
    FORMAT,
    FORMAT_VERSION,
    digest_segments,
    is_whole,
    read_transform,
    write_transform,
)

SAMPLE_FRAMES = 60_000  # twenty minutes: axes and centroids hardly move beyond
N_SHARD_SEGMENTS = 200  # the most that a killed run loses
N_READ = 16  # segments in memory, and as many being read
MAX_FAILED_SHARE = 0.05
PARTS, ORIGIN = "parts", "origin.json"

log = logging.getLogger("oral_units")


class _Reader(NamedTuple):
    """What turns rows into features."""

    data_root: Path
    encoder: Encoder
    num_workers: int  # threads that read audio


def build_index(
    folder: Path,
    segments: Sequence[Segment],
    data_root: Path,
    features: SearchFeatures,
    *,
    device: str = "cpu",
    num_workers: int = 2,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Make the index of ``segments`` in ``folder``, or go on where a run was killed; nothing where it is whole.

    Raises UserError where the folder holds another index and ``overwrite`` is not said, and where more than 5 % of the
    segments cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_run(folder):
        origin = {"features": features, "segments": digest_segments(segments), "version": FORMAT_VERSION}
        _enter(folder, origin, overwrite=overwrite)
        if is_whole(folder):
            return
        reader = _Reader(data_root, open_search_encoder(features, device), num_workers)
        transform = _fit_once(folder, segments, reader, features)
        _write_parts(folder, segments, reader, transform, quiet=quiet)
        _merge(folder, origin, segments)


def _enter(folder: Path, origin: dict[str, object], *, overwrite: bool) -> None:
    """Leave in ``folder`` only what ``origin`` made."""
    found = read_json(folder / ORIGIN) if (folder / ORIGIN).is_file() else None
    if found is not None and found != origin:
        if not overwrite:
            raise UserError(
                f"{folder}: expected nothing, or an index of these settings and segments, found another; "
                "give another --tag, or replace it: src/index_speech.py --overwrite with the same flags"
            )
        (folder / "index.json").unlink(missing_ok=True)
        for name in ("transform.npz", "features.npy", "codes.npy", "bounds.npy"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    write_json(folder / ORIGIN, origin)


def _fit_once(folder: Path, segments: Sequence[Segment], reader: _Reader, features: SearchFeatures) -> Transform:
    """The transform of an earlier start, or one fitted on a random sample of the segments."""
    if not (folder / "transform.npz").is_file():
        sample = draw_sample(segments, features["seed"])
        found = [states for _, states, _ in _encode_rows(sample, reader) if states is not None]
        if not found:
            raise UserError(f"{reader.data_root / segments[0]['audio']}: expected audio, found none in all tried")
        sizes = {name: features[name] for name in ("n_features", "n_centroids", "seed")}
        write_transform(folder, fit_transform(found, **sizes))
    return read_transform(folder)


def draw_sample(segments: Sequence[Segment], seed: int) -> list[Segment]:
    """Segments drawn at random, SAMPLE_FRAMES in all or a little more."""
    chosen, n_frames = [], 0
    for row in sorted(segments, key=lambda row: hash_fraction(seed, "search", row["id"])):
        if n_frames >= SAMPLE_FRAMES:
            break
        chosen.append(row)
        n_frames += count_frames(row)
    return chosen


def _encode_rows(rows: Sequence[Segment], reader: _Reader) -> Iterator[tuple[Segment, np.ndarray | None, str]]:
    """(row, its (F, D) features or None, why there are none) in order."""

    def load(row: Segment) -> tuple[np.ndarray | None, str]:
        return read_waveform(resolve_in(reader.data_root, row["audio"]))

    for chunk, loaded in map_ahead(load, ((chunk, chunk) for _, chunk in cut_shards(rows, N_READ)), reader.num_workers):
        states = iter(encode(reader.encoder, [waveform for waveform, _ in loaded if waveform is not None]))
        for row, (waveform, reason) in zip(chunk, loaded):
            yield row, (None if waveform is None else next(states)), reason


def _write_parts(
    folder: Path, segments: Sequence[Segment], reader: _Reader, transform: Transform, *, quiet: bool
) -> None:
    """``parts/00000.npz``… with the frames, codes and lengths of the segments of each shard."""
    total = round(sum(row["duration"] for row in segments))
    with tqdm(total=total, unit="s of speech", desc="indexing", disable=quiet or None, smoothing=0.05) as progress:
        for number, shard in cut_shards(segments, N_SHARD_SEGMENTS):
            path = folder / PARTS / f"{number:05d}.npz"
            if not _is_readable(path):
                _write_part(path, list(_encode_rows(shard, reader)), transform)
            progress.update(sum(row["duration"] for row in shard))


def _is_readable(path: Path) -> bool:
    try:
        read_arrays(path, "reasons")
    except (OSError, ValueError):
        return False
    return True


def _write_part(path: Path, encoded: Sequence[tuple[Segment, np.ndarray | None, str]], transform: Transform) -> None:
    empty = np.zeros((0, transform.centroids.shape[1]), np.float32)
    frames = [empty if states is None else prepare_features(states, transform) for _, states, _ in encoded]
    whole = np.concatenate([empty, *frames])
    arrays = {
        "features": whole.astype(np.float16),
        "codes": nearest_centroids(whole, transform),
        "lengths": np.array([len(one) for one in frames], np.int64),
        "reasons": np.array([reason for *_, reason in encoded], np.str_),
    }
    write_arrays(path, **arrays)


def _merge(folder: Path, origin: dict[str, object], segments: Sequence[Segment]) -> None:
    """The parts as single files; ``index.json`` comes last, and then the parts go."""
    parts = sorted((folder / PARTS).glob("*.npz"))
    lengths, reasons = _concatenate(parts, "lengths"), _concatenate(parts, "reasons")
    failed: list[FailedItem] = [
        {"id": row["id"], "reason": str(reason)} for row, reason in zip(segments, reasons) if reason
    ]
    if len(failed) > MAX_FAILED_SHARE * len(segments):
        raise UserError(
            f"{folder}: {len(failed)} of {len(segments)} segments cannot be read, first {failed[0]['id']}: "
            f"{failed[0]['reason']}"
        )
    if failed:
        log.warning("%d segments cannot be read and are not searched, first: %s", len(failed), failed[0]["reason"])
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    for name in ("features", "codes"):
        _join_arrays(folder / f"{name}.npy", parts, name, int(bounds[-1]))
    write_array(folder / "bounds.npy", bounds)
    summary = {"n_segments": len(segments), "n_frames": int(bounds[-1]), "failed": failed}
    described = {"features": origin["features"], "segments": origin["segments"]}
    write_json(folder / "index.json", {"format": FORMAT, "format_version": FORMAT_VERSION, **described, **summary})
    shutil.rmtree(folder / PARTS)


def _concatenate(parts: Sequence[Path], name: str) -> np.ndarray:
    return np.concatenate([_read_array(path, name) for path in parts])


def _read_array(path: Path, name: str) -> np.ndarray:
    return read_arrays(path, name)[name]


def _join_arrays(out: Path, parts: Sequence[Path], name: str, n_frames: int) -> None:
    """One array of the parts below each other, a part in memory at a time."""

    def write(temporary: Path) -> None:
        first = _read_array(parts[0], name)
        shape = (n_frames, *first.shape[1:])
        joined = np.lib.format.open_memmap(temporary, "w+", first.dtype, shape)
        start = 0
        for path in parts:
            rows = _read_array(path, name)
            joined[start : start + len(rows)] = rows
            start += len(rows)
        joined.flush()

    write_atomically(out, write)
