"""The two streaming passes of phase 1: features of a sample for k-means, then the units of every segment.

What comes out depends on the rows, the seed and the shard size. It does not depend on the number of processes, jobs or
threads, nor on how often the run was interrupted. An ``origin`` says what a pass's shards are made from (units.shards).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from audio.audio_io import read_waveform
from core.arrays import write_array
from core.frames import samples_to_frames
from core.hashing import hash_fraction
from core.read_ahead import map_ahead
from core.records import FailedItem, Segment, Utterance
from encoders.encode import Encoder, encode, has_positions, is_cheap, n_features, position_slack
from languages import resolve_in
from segmentation.manifest import cut_chunks, cut_shards
from units.kmeans import UnitClusters, quantize_to_units, sample_frames
from units.shards import (
    FeatureRows,
    describe_utterance,
    read_features,
    read_index,
    shard_path,
    shard_problem,
    write_index,
    write_lines,
    write_record,
    write_speakers,
)
from units.speaker_statistics import speaker_key

CHUNK_SECONDS = 300.0  # of audio in memory, and as much again being read: 19 MB each

Rows = Callable[[], Iterable[Segment]]

log = logging.getLogger("oral_units")


class Workload(NamedTuple):
    """Which shards a process does, and how it reads their audio."""

    data_root: Path
    n_shard_utterances: int
    rank: int  # of n_ranks processes, of one job or of many
    n_ranks: int
    num_workers: int  # threads that read
    quiet: bool


class Clip(NamedTuple):
    """One segment on its way through a pass."""

    position: int  # in its shard
    row: Segment
    n_samples: int
    waveform: np.ndarray | None  # (S,) float32; None where it failed or is not needed
    features: np.ndarray | None  # (F, D) float32
    failure: str


def fit_pass(
    encoder: Encoder,
    rows: Rows,
    folder: Path,
    work: Workload,
    origin: Mapping[str, str],
    *,
    share: float,
    seed: int,
    by_speaker: bool = False,
) -> None:
    """Write ``folder``/0000.npy…: a random ``share`` of the frames of every row, in order.

    ``by_speaker``: and who speaks them.

    Each segment lies at a random offset in the input of an encoder that knows absolute positions. Where all frames are
    taken as they are, an index of the features lets ``assign_pass`` use them again.
    """
    reusable = share >= 1 and not (is_cheap(encoder) or has_positions(encoder))

    def offset(identity: str, n_frames: int) -> int:
        return int(hash_fraction(seed, "offset", identity) * (position_slack(encoder, n_frames) + 1))

    def keep(clip: Clip) -> tuple[Clip, np.ndarray]:
        return clip._replace(waveform=None, features=None), sample_frames(clip.features, share, seed, clip.row["id"])

    for path, clips in _encode_shards(encoder, rows, folder, work, origin, suffix=".npy", offset=offset):
        sampled, failed = _collect(clips, keep)
        if reusable:
            write_index(path, [(clip.row["id"], clip.n_samples) for clip, _ in sampled])
        if by_speaker:
            write_speakers(path, [(speaker_key(clip.row), len(frames)) for clip, frames in sampled])
        features = [frames for _, frames in sampled]
        write_array(path, np.concatenate([np.zeros((0, n_features(encoder)), np.float32), *features]))
        write_record(path, origin, failed)


def assign_pass(
    encoder: Encoder,
    rows: Rows,
    folder: Path,
    work: Workload,
    origin: Mapping[str, str],
    *,
    clusters: UnitClusters,
    sampled: Path,
) -> None:
    """Write ``folder``/0000.jsonl…: the corpus' utterance for every row that can be read, in order.

    Features that ``fit_pass`` left in ``sampled`` for use as they are are not computed a second time.
    """

    def keep(clip: Clip) -> Utterance:
        units = quantize_to_units(clip.features, clusters, speaker_key(clip.row))
        return describe_utterance(clip.row, clip.n_samples, units)

    known = read_index(sampled)
    for path, clips in _encode_shards(encoder, rows, folder, work, origin, suffix=".jsonl", known=known):
        utterances, failed = _collect(clips, keep)
        write_lines(path, utterances)
        write_record(path, origin, failed)


def _no_offset(identity: str, n_frames: int) -> int:
    return 0


def _encode_shards(
    encoder: Encoder,
    rows: Rows,
    folder: Path,
    work: Workload,
    origin: Mapping[str, str],
    *,
    suffix: str,
    known: Mapping[str, FeatureRows] | None = None,
    offset: Callable[[str, int], int] = _no_offset,
) -> Iterator[tuple[Path, Iterator[Clip]]]:
    """(path, clips in no order) of this process's unfinished shards, with a progress bar.

    Reading runs a chunk ahead of encoding, over the ends of shards too.
    """
    folder.mkdir(exist_ok=True)
    pending = _find_pending(rows(), folder, suffix, work, origin)
    shards = ((index, shard) for index, shard in cut_shards(rows(), work.n_shard_utterances) if index in pending)
    chunks = ((index, chunk) for index, shard in shards for chunk in cut_chunks(shard, CHUNK_SECONDS))
    read = map_ahead(partial(read_clip, encoder, work.data_root, known or {}), chunks, work.num_workers)
    title = {".npy": "sampling features", ".jsonl": "extracting units"}[suffix]
    hidden = None if work.rank == 0 and not work.quiet else True
    total = round(sum(pending.values()))
    with tqdm(total=total, unit="s of audio", desc=title, disable=hidden, smoothing=0.05) as bar:
        for index, group in groupby(read, key=lambda pair: pair[0]):
            clips = (clip for _, found in group for clip in add_features(encoder, found, offset))
            yield shard_path(folder, index, suffix), _advance(bar, clips)


def _advance(bar: tqdm, clips: Iterable[Clip]) -> Iterator[Clip]:
    for clip in clips:
        bar.update(clip.row["duration"])
        yield clip


def _collect(clips: Iterable[Clip], keep: Callable[[Clip], object]) -> tuple[list, list[FailedItem]]:
    """What ``keep`` makes of the readable clips of a shard, and those that failed, both in order."""
    kept, failed = {}, {}
    for clip in clips:
        if clip.failure:
            failed[clip.position] = FailedItem(id=clip.row["id"], reason=clip.failure)
        else:
            kept[clip.position] = keep(clip)
    return [kept[position] for position in sorted(kept)], [failed[position] for position in sorted(failed)]


def _find_pending(
    rows: Iterable[Segment], folder: Path, suffix: str, work: Workload, origin: Mapping[str, str]
) -> dict[int, float]:
    """Index -> seconds of audio of this process's shards, dealt out round-robin, that are not done."""
    pending = {}
    for index, shard in cut_shards(rows, work.n_shard_utterances):
        if index % work.n_ranks != work.rank:
            continue
        problem = shard_problem(shard_path(folder, index, suffix), origin)
        if problem:
            pending[index] = sum(row["duration"] for row in shard)
            if problem != "missing":
                log.warning("%s: made again (%s)", shard_path(folder, index, suffix), problem)
    return pending


def read_clip(encoder: Encoder, root: Path, known: Mapping[str, FeatureRows], placed: tuple[int, Segment]) -> Clip:
    """In a thread: one segment's audio, or why it failed; cheap features at once, since threads have the cores."""
    position, row = placed
    if row["id"] in known:
        path, start, n_samples = known[row["id"]]
        features = read_features(path, start, samples_to_frames(n_samples))
        return Clip(position, row, n_samples, None, features, "")
    waveform, failure = read_waveform(resolve_in(root, row["audio"]))
    if waveform is None:
        return Clip(position, row, 0, None, None, failure)
    features = encode(encoder, [waveform])[0] if is_cheap(encoder) else None
    return Clip(position, row, len(waveform), waveform, features, failure)


def add_features(encoder: Encoder, clips: list[Clip], offset: Callable[[str, int], int] = _no_offset) -> Iterator[Clip]:
    """The clips, those with audio and without features encoded together; ``offset`` as in ``encoders.encode``."""
    todo = [clip for clip in clips if clip.waveform is not None and clip.features is None]
    offsets = [offset(clip.row["id"], samples_to_frames(clip.n_samples)) for clip in todo]
    found = encode(encoder, [clip.waveform for clip in todo], offsets=offsets)
    features = {clip.position: values for clip, values in zip(todo, found)}
    for clip in clips:
        yield clip._replace(features=features[clip.position]) if clip.position in features else clip
