"""Shards: what a phase has done so far, in files that are whole or not there, and their way into one file."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from files import read_json, write_atomically, write_json
from frames import SAMPLE_RATE, UNIT_RATE, samples_to_frames
from units.corpus import deduplicate

CARRIED_KEYS = ("source", "start", "end", "speaker", "text")


def shard_path(folder: Path, index: int, suffix: str) -> Path:
    return folder / f"{index:04d}{suffix}"


def describe_utterance(row: dict, n_samples: int, frame_units: np.ndarray) -> dict:
    """One utterance of the corpus from a row of the manifest and its (F, streams) units."""
    units, durations = deduplicate(frame_units[:, 0])
    utterance = {
        "id": row["id"],
        "audio": row["audio"],
        "duration": round(n_samples / SAMPLE_RATE, 4),
        "split": row["split"],
        **{key: row[key] for key in CARRIED_KEYS if row.get(key) is not None},
        "unit_rate": UNIT_RATE,
        "units": units.tolist(),
        "durations": durations.tolist(),
    }
    if frame_units.shape[1] > 1:
        utterance["residual_units"] = frame_units[:, 1:].T.tolist()
    return utterance


def write_lines(path: Path, rows: list[dict]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_lines(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def write_failures(path: Path, failures: list[dict]) -> None:
    """Keep what failed in a shard beside it; no file where nothing failed."""
    if failures:
        write_json(path, failures)
    else:
        path.unlink(missing_ok=True)


def read_failures(folder: Path, n_shards: int) -> list[dict]:
    """Every failed utterance of the shards, as {"id", "reason"}, in order."""
    paths = [shard_path(folder, index, ".failed.json") for index in range(n_shards)]
    return [failure for path in paths if path.exists() for failure in read_json(path)]


def write_features(path: Path, features: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out:
            np.save(out, features, allow_pickle=False)

    write_atomically(path, write)


def write_index(features: Path, entries: list[tuple[str, int]]) -> None:
    """Beside a file of features, the (id, samples) of the utterances whose frames follow each other in it."""
    write_json(features.with_suffix(".index.json"), entries)


def read_index(folder: Path) -> dict[str, tuple[Path, int, int]]:
    """id -> (file, first row, samples) over every index in ``folder``; empty where there is none."""
    found: dict[str, tuple[Path, int, int]] = {}
    for path in sorted(folder.glob("*.index.json")):
        start = 0
        for identity, n_samples in read_json(path):
            found[identity] = (path.with_name(path.name.replace(".index.json", ".npy")), start, n_samples)
            start += samples_to_frames(n_samples)
    return found


def read_features(path: Path, start: int, n_frames: int) -> np.ndarray:
    """``n_frames`` rows of a (n, D) float32 file from row ``start``, without reading the rest."""
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[start : start + n_frames])


def gather_features(paths: list[Path]) -> np.ndarray:
    """The rows of several (n, D) float32 files below each other, read one file at a time into one array."""
    parts = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    gathered = np.empty((sum(len(part) for part in parts), parts[0].shape[1]), np.float32)
    filled = 0
    for part in parts:
        gathered[filled : filled + len(part)] = part
        filled += len(part)
    return gathered


def count_units(counts: np.ndarray, utterance: dict) -> None:
    """Add an utterance to (streams, K) ``counts``: deduplicated units of the first stream, frames of the others."""
    counts[0] += np.bincount(utterance["units"], minlength=counts.shape[1])
    for stream, units in enumerate(utterance.get("residual_units", ()), 1):
        counts[stream] += np.bincount(units, minlength=counts.shape[1])


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy of a histogram in bits; 0 for an empty one."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())
