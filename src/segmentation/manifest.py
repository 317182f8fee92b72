"""``segments.jsonl``, phase 1's input, read line by line: checked, sampled and cut into shards without holding it."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from core.errors import UserError
from core.files import read_lines
from core.frames import SAMPLE_RATE, is_length, samples_to_frames
from core.hashing import hash_fraction
from core.records import SPLITS
from core.safe_names import is_file_name
from languages import resolve_in

REQUIRED_KEYS = ("id", "audio", "duration", "split")
# Neighbouring frames are much alike: where there is plenty of audio, one frame in four of four times as many clips.
FRAMES_PER_SAMPLE = 4
GROUPS = ("speaker", "language")


def read_manifest(path: Path) -> Iterator[dict]:
    """Stream the rows of ``segments.jsonl``. Raises UserError naming file and line for a row that is not one."""
    if not Path(path).is_file():
        language = Path(path).parent.name
        raise UserError(
            f"{path}: expected the list of segments, found none; run: python scripts/segment_audio.py "
            f"--language {language}"
        )
    for number, line in read_lines(path):
        if line.strip():
            yield _parse_row(path, number, line)


def _parse_row(path: Path, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, line {number}: expected one JSON object, found {error}; run segment_audio.py again"
        ) from error
    if fault := find_fault(row):
        raise UserError(f"{path}, line {number}: expected {fault}; run segment_audio.py again")
    return row


def find_fault(row: object) -> str:
    """What a row should hold and what it holds instead; "" where it is a segment."""
    if not isinstance(row, dict):
        return f"one JSON object, found {row!r:.40}"
    missing = [key for key in REQUIRED_KEYS if key not in row]
    if missing:
        return f"keys {', '.join(REQUIRED_KEYS)}, missing {', '.join(missing)}"
    strange = next((key for key in ("id", "audio") if not isinstance(row[key], str)), None)
    if strange:
        return f"text in '{strange}', found {row[strange]!r:.40}"
    if not is_file_name(row["id"]):
        return f"an id that may be a file's name, found '{row['id']:.40}'"
    if not is_length(row["duration"]):
        return f"seconds in 'duration', found {row['duration']!r:.40}"
    return "" if row["split"] in SPLITS else f"split {', '.join(SPLITS)}, found '{row['split']!s:.40}'"


def count_frames(row: dict) -> int:
    """Frames of a row by its duration, which stands for whole samples: 0.58 s are 29 frames and not 28.99."""
    return samples_to_frames(round(row["duration"] * SAMPLE_RATE))


def check_manifest(path: Path, root: Path, *, needs_train: bool = True) -> dict:
    """Read the manifest once: ``n_utterances``, ``seconds`` and ``train_frames``.

    Raises UserError for an empty list, a repeated id, an audio path that leaves ``root``, or, where they are needed, no
    training utterances.
    """
    hashes, seconds, train_frames = array("Q"), 0.0, 0
    for row in read_manifest(path):
        resolve_in(root, row["audio"])
        hashes.append(int(hash_fraction(0, row["id"]) * 2**64))
        seconds += row["duration"]
        train_frames += count_frames(row) if row["split"] == "train" else 0
    n_distinct = len(np.unique(np.frombuffer(hashes, np.uint64))) if hashes else 0
    if n_distinct < len(hashes):
        raise UserError(
            f"{path}: expected unique ids, found {len(hashes) - n_distinct} repeated; run segment_audio.py again"
        )
    if not hashes:
        raise UserError(f"{path}: expected segments, found an empty list; run segment_audio.py again")
    if needs_train and not train_frames:
        raise UserError(f"{path}: expected utterances of the split 'train', found none; check splits.json")
    return {"n_utterances": len(hashes), "seconds": seconds, "train_frames": train_frames}


def plan_sample(
    path: Path, train_frames: int, n_frames: int, seed: int, *, whole_clips: bool = False, evenly: str | None = None
) -> dict:
    """Which part of the training split k-means is fitted on: ``clip_share``, ``frame_share`` and ``n_utterances``.

    A random share of the clips that holds about 4 * ``n_frames`` frames, and a random share of the frames in each, so
    that about ``n_frames`` are left; everything where there is less. ``whole_clips``: all frames of about as many clips
    as hold ``n_frames``, for a fit that follows the speech. ``evenly``, one of ``GROUPS``: as much of each speaker or
    language, and all of those who have less (``group_shares``).
    """
    surplus = 1 if whole_clips else FRAMES_PER_SAMPLE
    plan = {"clip_share": surplus * n_frames / train_frames, "seed": seed}
    if evenly:
        plan |= {"evenly": evenly, "group_shares": share_evenly(_count_groups(path, evenly), surplus * n_frames)}
    lengths = array("L", (count_frames(row) for row in sample_rows(path, plan)))
    share = 1.0 if whole_clips else n_frames / max(sum(lengths), 1)
    return {**plan, "n_utterances": len(lengths), "frame_share": share}


def sample_rows(path: Path, plan: dict) -> Iterator[dict]:
    """The training rows of the sample: a function of the seed and each id, whatever the order, shard or process."""
    shares, evenly = plan.get("group_shares"), plan.get("evenly")
    for row in read_manifest(path):
        share = shares[group_of(row, evenly)] if shares and row["split"] == "train" else plan["clip_share"]
        if row["split"] == "train" and hash_fraction(plan["seed"], "clip", row["id"]) < share:
            yield row


def group_of(row: Mapping[str, object], evenly: str) -> str:
    """The language of a row, which is the first folder of its audio; of ``speaker`` with the speaker's name."""
    language = PurePosixPath(row["audio"]).parts[0]
    return language if evenly == "language" else f"{language}/{row.get('speaker') or ''}"


def _count_groups(path: Path, evenly: str) -> dict[str, int]:
    """Training frames of each group."""
    frames: Counter[str] = Counter()
    for row in read_manifest(path):
        if row["split"] == "train":
            frames[group_of(row, evenly)] += count_frames(row)
    return dict(frames)


def share_evenly(frames: Mapping[str, int], wanted: int) -> dict[str, float]:
    """The share of each group's ``frames`` so that ``wanted`` are taken, as many of each group as it has."""
    left, quota = wanted, 0.0
    for number, n_frames in enumerate(sorted(frames.values())):
        quota = left / (len(frames) - number)
        if n_frames >= quota:
            break
        left -= n_frames
    return {group: min(1.0, quota / max(n_frames, 1)) for group, n_frames in frames.items()}


def cut_shards(rows: Iterable[dict], size: int) -> Iterator[tuple[int, list[dict]]]:
    """Consecutive (index, rows) of at most ``size`` rows each."""
    remaining, index = iter(rows), 0
    while shard := list(islice(remaining, size)):
        yield index, shard
        index += 1


def cut_chunks(rows: list[dict], max_seconds: float) -> Iterator[list[tuple[int, dict]]]:
    """The rows of a shard from short to long, as (position, row), at most ``max_seconds`` of audio at a time.

    Rows of like length land in one chunk, so that batches hold little padding and memory is bounded.
    """
    chunk, seconds = [], 0.0
    for position in sorted(range(len(rows)), key=lambda index: (rows[index]["duration"], index)):
        if chunk and seconds + rows[position]["duration"] > max_seconds:
            yield chunk
            chunk, seconds = [], 0.0
        chunk.append((position, rows[position]))
        seconds += rows[position]["duration"]
    if chunk:
        yield chunk
