"""Shards: what a phase has done so far, in files that are whole or not there, and their way into one file.

A shard is a file of results and, written after it, a record: what they were made from, their hash, and what failed.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.arrays import read_array
from core.errors import UserError
from core.files import hash_files, read_json, write_json, write_text
from core.frames import SAMPLE_RATE, UNIT_RATE, samples_to_frames
from core.records import FailedItem, Segment, UnitTotals, Utterance
from units.corpus import deduplicate, write_corpus
from units.quality import entropy_bits

SEGMENT_KEYS = ("source", "start", "end", "speaker", "text", "parts")  # of the manifest, where a row has them
RESULTS = {"fit": ".npy", "shards": ".jsonl"}  # folder -> suffix
RECORD = ".record.json"
INDEX = ".index.json"
SPEAKERS = ".speakers.json"


class FeatureRows(NamedTuple):
    """Where the features of one utterance lie."""

    path: Path  # of the .npy
    start: int  # first row
    n_samples: int


def shard_path(folder: Path, index: int, suffix: str) -> Path:
    return folder / f"{index:04d}{suffix}"


def describe_utterance(row: Segment, n_samples: int, frame_units: np.ndarray) -> Utterance:
    """One utterance of the corpus from a row of the manifest and its (F, N) units."""
    units, durations = deduplicate(frame_units[:, 0])
    residual = {"residual_units": frame_units[:, 1:].T.tolist()} if frame_units.shape[1] > 1 else {}
    return {
        "id": row["id"],
        "audio": row["audio"],
        "duration": round(n_samples / SAMPLE_RATE, 4),
        "split": row["split"],
        **{key: row[key] for key in SEGMENT_KEYS if row.get(key) is not None},
        **({"flags": row["flags"]} if row.get("flags") else {}),
        "unit_rate": UNIT_RATE,
        "units": units.tolist(),
        "durations": durations.tolist(),
        **residual,
    }


def write_lines(path: Path, rows: Iterable[Utterance]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))


def read_lines(path: Path) -> Iterator[Utterance]:
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def write_record(path: Path, origin: Mapping[str, str], failed: Sequence[FailedItem]) -> None:
    """Next to the results ``path``, which count as done from here on: their ``origin``, hash, and what failed."""
    write_json(path.with_suffix(RECORD), {"origin": origin, "sha256": _hash_results(path), "failed": failed})


def shard_problem(path: Path, origin: Mapping[str, str]) -> str | None:
    """Why the results ``path`` are not those of ``origin``: missing, foreign or damaged; None where they are."""
    if not (path.exists() and path.with_suffix(RECORD).exists()):
        return "missing"
    try:
        record = read_json(path.with_suffix(RECORD))
        found, written = record["origin"], record["sha256"]
    except (UserError, KeyError):
        return "damaged: no record of what was written"
    differing = sorted(key for key in origin.keys() | found.keys() if found.get(key) != origin.get(key))
    if differing:
        return "foreign: of another " + " and another ".join(differing)
    return None if written == _hash_results(path) else "damaged: not the bytes that were written"


def _hash_results(path: Path) -> str:
    beside = [path.with_suffix(suffix) for suffix in (INDEX, SPEAKERS)]
    return hash_files([path, *(one for one in beside if one.exists())])


def find_problems(folder: Path, suffix: str, n_shards: int, origin: Mapping[str, str]) -> dict[int, str]:
    """Number -> problem of the shards 0 to ``n_shards`` - 1 of ``origin``, and of any beyond; empty if all is well."""
    problems = {index: shard_problem(shard_path(folder, index, suffix), origin) for index in range(n_shards)}
    numbers = {int(path.name.removesuffix(RECORD)) for path in folder.glob(f"*{RECORD}")}
    surplus = {index: f"foreign: there are {n_shards} shards" for index in numbers if index >= n_shards}
    return {index: problem for index, problem in sorted((problems | surplus).items()) if problem}


def read_failures(folder: Path, n_shards: int) -> list[FailedItem]:
    """Every failed segment of the shards, in order."""
    paths = [shard_path(folder, index, RECORD) for index in range(n_shards)]
    return [failure for path in paths for failure in read_json(path)["failed"]]


def write_index(features: Path, entries: list[tuple[str, int]]) -> None:
    """Next to a file of features, the (id, samples) of the utterances whose frames follow each other in it."""
    write_json(features.with_suffix(INDEX), entries)


def read_index(folder: Path) -> dict[str, FeatureRows]:
    """id -> its features, over every index in ``folder``; empty where there is none."""
    found: dict[str, FeatureRows] = {}
    for path in sorted(folder.glob(f"*{INDEX}")):
        start = 0
        for identity, n_samples in read_json(path, list):
            found[identity] = FeatureRows(path.with_name(path.name.replace(INDEX, ".npy")), start, n_samples)
            start += samples_to_frames(n_samples)
    return found


def write_speakers(features: Path, spans: Sequence[tuple[str | None, int]]) -> None:
    """Next to a file of features, the speakers and frames of the utterances in it (units.speaker_statistics)."""
    write_json(features.with_suffix(SPEAKERS), spans)


def read_speakers(paths: Iterable[Path]) -> list[tuple[str | None, int]]:
    """Those of several files of features, one after the other."""
    return [(speaker, n_frames) for path in paths for speaker, n_frames in read_json(path.with_suffix(SPEAKERS), list)]


def read_features(path: Path, start: int, n_frames: int) -> np.ndarray:
    """``n_frames`` rows of a (n, D) float32 file from row ``start``, without reading the rest."""
    return np.array(read_array(path, mapped=True)[start : start + n_frames])


def gather_features(paths: list[Path]) -> np.ndarray:
    """The rows of several (n, D) float32 files below each other, in one array that is mapped and read-only.

    It lies beside the first of them in a file without a name, which goes with the array, however the process ends.
    """
    n_frames, n_features = 0, 0
    with tempfile.TemporaryFile(dir=paths[0].parent) as out:
        for path in paths:
            part = read_array(path).astype(np.float32, order="C", copy=False)
            out.write(part.data)
            n_frames, n_features = n_frames + len(part), part.shape[1]
        out.flush()
        shape = (n_frames, n_features)
        return np.memmap(out, np.float32, "r", shape=shape) if n_frames else np.zeros(shape, np.float32)


def merge_shards(shards: Sequence[Path], corpus: Path, n_units: int, n_streams: int) -> UnitTotals:
    """Write ``corpus`` from the shards, in the order of the manifest; returns what there is to say about its units."""
    return write_counted(corpus, (row for path in shards for row in read_lines(path)), n_units, n_streams)


def write_counted(corpus: Path, utterances: Iterable[Utterance], n_units: int, n_streams: int) -> UnitTotals:
    """``write_corpus``, and what there is to say about the units."""
    counts, seconds = np.zeros((n_streams, n_units), np.int64), 0.0

    def counted() -> Iterator[Utterance]:
        nonlocal seconds
        for utterance in utterances:
            count_units(counts, utterance)
            seconds += utterance["duration"]
            yield utterance

    n_written = write_corpus(corpus, counted())
    rates = counts.sum(axis=1) / max(seconds, 1e-9)
    return {
        "n_utterances": n_written,
        "hours": round(seconds / 3600, 4),
        "units_used": [int((stream > 0).sum()) for stream in counts],
        "units_per_second": round(float(rates[0]), 3),
        "bits_per_second": round(sum(float(rate * entropy_bits(stream)) for rate, stream in zip(rates, counts)), 2),
    }


def count_units(counts: np.ndarray, utterance: Utterance) -> None:
    """Add an utterance to (N, K) ``counts``: deduplicated units of the first stream, frames of the others."""
    counts[0] += np.bincount(utterance["units"], minlength=counts.shape[1])
    for stream, units in enumerate(utterance.get("residual_units", ()), 1):
        counts[stream] += np.bincount(units, minlength=counts.shape[1])
