"""The two streaming passes of phase 1: features of a sample for k-means, then the units of every segment.

A run is a plain dict: ``encoder`` (from encoders.encode), ``data_root``, ``seed``, ``n_shard_utterances``,
``num_workers``, ``quiet``, and ``rank`` of ``n_ranks`` processes, of one job or of many. ``origin`` says what a pass's
shards are made from (units.shards). What comes out depends on the rows, the seed and the shard size, not on the number
of processes, jobs or threads, nor on how often the run was interrupted.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import read_waveform
from core.files import write_features
from core.frames import samples_to_frames
from core.hashing import hash_fraction
from core.read_ahead import map_ahead
from encoders.encode import encode, position_slack
from languages import resolve_in
from segmentation.manifest import cut_chunks, cut_shards
from units.kmeans import quantize_to_units, sample_frames
from units.shards import (
    describe_utterance,
    read_features,
    read_index,
    shard_path,
    shard_problem,
    write_index,
    write_lines,
    write_record,
)

CHUNK_SECONDS = 300.0  # of audio in memory, and as much again being read: 19 MB each

Rows = Callable[[], Iterable[dict]]

log = logging.getLogger("oral_units")


def fit_pass(run: dict, rows: Rows, folder: Path, frame_share: float) -> None:
    """Write ``folder``/0000.npy…: a random ``frame_share`` of the features of every row, in order.

    Each segment lies at a random offset in the input of an encoder that knows absolute positions. Where all frames are
    taken as they are, an index beside the features lets ``assign_pass`` use them again.
    """
    reusable = frame_share >= 1 and run["encoder"]["family"] not in ("mfcc", "whisper")

    def offset(row: dict, n_frames: int) -> int:
        slack = position_slack(run["encoder"], n_frames)
        return int(hash_fraction(run["seed"], "offset", row["id"]) * (slack + 1))

    def keep(item: dict) -> tuple[str, int, np.ndarray]:
        identity = item["row"]["id"]
        return identity, item["n_samples"], sample_frames(item["features"], frame_share, run["seed"], identity)

    def write(path: Path, kept: list[tuple[str, int, np.ndarray]]) -> None:
        if reusable:
            write_index(path, [(identity, n_samples) for identity, n_samples, _ in kept])
        features = [features for _, _, features in kept]
        write_features(path, np.concatenate([np.zeros((0, run["encoder"]["dim"]), np.float32), *features]))

    _run_pass(run, rows, folder, ".npy", offset=offset, keep=keep, write=write)


def assign_pass(run: dict, rows: Rows, folder: Path, kmeans: dict, sampled: Path) -> None:
    """Write ``folder``/0000.jsonl…: the corpus' utterance for every row that can be read, in order.

    Features that ``fit_pass`` left in ``sampled`` for use as they are are not computed a second time.
    """

    def keep(item: dict) -> dict:
        return describe_utterance(item["row"], item["n_samples"], quantize_to_units(item["features"], kmeans))

    _run_pass(
        {**run, "known": read_index(sampled)},
        rows,
        folder,
        ".jsonl",
        offset=lambda row, n_frames: 0,
        keep=keep,
        write=write_lines,
    )


def _run_pass(
    run: dict,
    rows: Rows,
    folder: Path,
    suffix: str,
    *,
    offset: Callable[[dict, int], int],
    keep: Callable[[dict], object],
    write: Callable[[Path, list], None],
) -> None:
    """Encode this process's unfinished shards and ``write`` what ``keep`` makes of their readable items, in order."""
    folder.mkdir(exist_ok=True)
    pending = _find_pending(run, rows(), folder, suffix)
    shards = ((index, shard) for index, shard in cut_shards(rows(), run["n_shard_utterances"]) if index in pending)
    title = {".npy": "sampling features", ".jsonl": "extracting units"}[suffix]
    hidden = None if run["rank"] == 0 and not run["quiet"] else True
    total = round(sum(pending.values()))
    with tqdm(total=total, unit="s of audio", desc=title, disable=hidden, smoothing=0.05) as bar:
        for index, items in _encode_shards(run, shards, offset):
            kept, failed = {}, {}
            for item in items:
                bar.update(item["row"]["duration"])
                if item["failure"]:
                    failed[item["position"]] = {"id": item["row"]["id"], "reason": item["failure"]}
                else:
                    kept[item["position"]] = keep(item)
            write(shard_path(folder, index, suffix), [kept[key] for key in sorted(kept)])
            write_record(shard_path(folder, index, suffix), run["origin"], [failed[key] for key in sorted(failed)])


def _find_pending(run: dict, rows: Iterable[dict], folder: Path, suffix: str) -> dict[int, float]:
    """Index -> seconds of audio of this process's shards, dealt out round-robin, that are not done."""
    pending = {}
    for index, shard in cut_shards(rows, run["n_shard_utterances"]):
        if index % run["n_ranks"] != run["rank"]:
            continue
        problem = shard_problem(shard_path(folder, index, suffix), run["origin"])
        if problem:
            pending[index] = sum(row["duration"] for row in shard)
            if problem != "missing":
                log.warning("%s: made anew (%s)", shard_path(folder, index, suffix), problem)
    return pending


def _encode_shards(
    run: dict, shards: Iterable[tuple[int, list[dict]]], offset: Callable[[dict, int], int]
) -> Iterator[tuple[int, Iterator[dict]]]:
    """(shard index, its items, in no order and a chunk at a time); reading runs a chunk ahead of encoding."""
    chunks = ((index, chunk) for index, rows in shards for chunk in cut_chunks(rows, CHUNK_SECONDS))
    read = map_ahead(partial(_read_item, run), chunks, run["num_workers"])
    for index, group in groupby(read, key=lambda pair: pair[0]):
        yield index, (item for _, items in group for item in _add_features(run["encoder"], items, offset))


def _read_item(run: dict, placed: tuple[int, dict]) -> dict:
    """In a thread: one segment's audio, or why it failed; mfcc at once, since threads have the cores to themselves."""
    position, row = placed
    item = {"position": position, "row": row, "waveform": None, "failure": ""}
    if row["id"] in run.get("known", ()):
        path, start, n_samples = run["known"][row["id"]]
        return {**item, "n_samples": n_samples, "features": read_features(path, start, samples_to_frames(n_samples))}
    waveform, item["failure"] = read_waveform(resolve_in(run["data_root"], row["audio"]))
    item |= {"waveform": waveform, "n_samples": 0 if waveform is None else len(waveform)}
    if waveform is not None and run["encoder"]["family"] == "mfcc":
        item["features"] = encode(run["encoder"], [waveform])[0]
    return item


def _add_features(encoder: dict, items: list[dict], offset: Callable[[dict, int], int]) -> list[dict]:
    todo = [item for item in items if item["waveform"] is not None and "features" not in item]
    offsets = [offset(item["row"], samples_to_frames(item["n_samples"])) for item in todo]
    for item, features in zip(todo, encode(encoder, [item["waveform"] for item in todo], offsets=offsets)):
        item["features"] = features
    return items
