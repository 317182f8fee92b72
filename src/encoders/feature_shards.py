"""The shards of a feature cache: how they are planned, shared between processes, written, found and opened.

A *part* is {"folder", "dim", "seen" (names of shards read), "entries" {audio hash: (shard, first row, frames)} and
"failures" {audio hash: reason}}: what the features of one encoder at one speed amount to so far.
"""

import functools
import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

import soundfile
from tqdm import tqdm

from core.errors import UserError
from core.files import read_json, write_features, write_json
from core.frames import HOP_SAMPLES, samples_to_frames
from core.read_ahead import map_ahead

SHARD_SECONDS, SHARD_ITEMS = 300.0, 64  # what a kill can cost at most
MAX_FAILED_SHARE = 0.05
OPEN_SHARDS = 128  # memory maps a process keeps open
STALE_SECONDS = 3600.0  # a temporary file as old as this belongs to nobody

log = logging.getLogger("oral_units")


@functools.lru_cache(maxsize=OPEN_SHARDS)
def open_shard(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_part(folder: Path, encoder_id: str, settings: dict, speed: float) -> dict:
    """The folder of one encoder at one speed, with what its finished shards hold."""
    described = settings | {"speed": speed}
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    place = folder / f"{Path(encoder_id).name}_{key}"
    if not (place / "settings.json").exists():
        write_json(place / "settings.json", described | {"id": encoder_id})
    _remove_stale(place)
    part = {"folder": place, "dim": settings["dim"], "seen": set(), "entries": {}, "failures": {}}
    _read_new_shards(part)
    return part


def _remove_stale(place: Path) -> None:
    for path in place.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:  # its process was quicker
            continue


def _read_new_shards(part: dict) -> None:
    """Take up the shards that were finished, by whomever, since the last look."""
    for path in sorted(part["folder"].glob("shard_*.json")):
        if path.name in part["seen"]:
            continue
        part["seen"].add(path.name)
        shard, start = read_json(path), 0
        for audio_hash, n_frames in shard["items"]:
            part["entries"][audio_hash] = (str(path.with_suffix(".npy")), start, n_frames)
            start += n_frames
        part["failures"] |= shard["failures"]


def fill_part(
    part: dict,
    items: Sequence[dict],
    encode: Callable[[list[np.ndarray]], list[np.ndarray]],
    *,
    share: tuple[int, int],
    num_workers: int,
    bar: dict,
) -> dict:
    """Encode the missing items shard by shard; returns how many this process encoded, and their seconds.

    encode: list of (S,) float32 -> list of (F, D) float16. share: (rank, world). bar: its ``desc`` and ``quiet``.
    """
    missing = _missing_items(part, items)
    shards = _order_shards(_cut_shards(missing), *share)
    total = round(sum(item["duration"] for item in missing))
    done = {"n_items": 0, "seconds": 0.0}
    with tqdm(
        total=total, unit="s of speech", desc=bar["desc"], disable=bar["quiet"] or not missing or None, smoothing=0.05
    ) as progress:
        for planned, loaded in map_ahead(_load_item, _still_missing(part, shards, progress), num_workers):
            _encode_shard(part, loaded, encode)
            seconds = sum(item["duration"] for item in planned)
            done = {"n_items": done["n_items"] + len(planned), "seconds": done["seconds"] + seconds}
            progress.update(seconds)
    _read_new_shards(part)
    return done


def _is_known(part: dict, item: dict) -> bool:
    return item["hash"] in part["entries"] or item["hash"] in part["failures"]


def _missing_items(part: dict, items: Iterable[dict]) -> list[dict]:
    """Items that no shard knows, one for each audio, from short to long."""
    unknown = {item["hash"]: item for item in items if not _is_known(part, item)}
    return sorted(unknown.values(), key=lambda item: (item["duration"], item["hash"]))


def _cut_shards(items: list[dict]) -> list[list[dict]]:
    shards: list[list[dict]] = []
    seconds = 0.0
    for item in items:
        if not shards or seconds + item["duration"] > SHARD_SECONDS or len(shards[-1]) == SHARD_ITEMS:
            shards.append([])
            seconds = 0.0
        shards[-1].append(item)
        seconds += item["duration"]
    return shards


def _order_shards(shards: list[list[dict]], rank: int, world: int) -> list[list[dict]]:
    """This rank's shards, then the others' from the far end on, where they come last.

    A lone process begins anywhere, so that two unrelated ones do not run side by side over the same shards.
    """
    if world == 1:
        start = random.SystemRandom().randrange(len(shards)) if shards else 0
        return shards[start:] + shards[:start]
    others = [shard for index, shard in enumerate(shards) if index % world != rank]
    return shards[rank::world] + others[::-1]


def _still_missing(part: dict, shards: Iterable[list[dict]], progress: tqdm) -> Iterator[tuple[list[dict], list[dict]]]:
    """(items, items) of every shard, less what another process has finished meanwhile."""
    for shard in shards:
        _read_new_shards(part)
        left = [item for item in shard if not _is_known(part, item)]
        progress.update(sum(item["duration"] for item in shard) - sum(item["duration"] for item in left))
        if left:
            yield left, left


def _load_item(item: dict) -> tuple[dict, np.ndarray | None, str]:
    """In a thread: the item, its waveform, and why there is none."""
    try:
        waveform = np.asarray(item["load"](), np.float32)
    except (UserError, OSError, soundfile.SoundFileError) as error:
        return item, None, str(error)
    if not np.isfinite(waveform).all():
        return item, None, "expected finite samples, found NaN or Inf"
    if samples_to_frames(len(waveform)) == 0:
        return item, None, f"expected at least {HOP_SAMPLES} samples, found {len(waveform)}"
    return item, waveform, ""


def _encode_shard(part: dict, loaded: list[tuple[dict, np.ndarray | None, str]], encode: Callable) -> None:
    usable = [(item["hash"], waveform) for item, waveform, _ in loaded if waveform is not None]
    features = encode([waveform for _, waveform in usable])
    rows = [(audio_hash, len(found)) for (audio_hash, _), found in zip(usable, features)]
    failures = {item["hash"]: reason for item, waveform, reason in loaded if waveform is None}
    name = hashlib.sha256("".join(item["hash"] for item, _, _ in loaded).encode()).hexdigest()[:24]
    path = part["folder"] / f"shard_{name}.npy"
    write_features(path, np.concatenate(features or [np.zeros((0, part["dim"]), np.float16)]))
    write_json(path.with_suffix(".json"), {"items": rows, "failures": failures})


def name_failures(part: dict, items: Sequence[dict]) -> list[dict]:
    """[{"id", "reason"}] of the items without features; too many of them are refused."""
    failed = [
        {"id": item["id"], "reason": part["failures"][item["hash"]]}
        for item in items
        if item["hash"] in part["failures"]
    ]
    if failed:
        told = f"{part['folder']}: {len(failed)} of {len(items)} items could not be encoded, first {failed[0]['id']}"
        if len(failed) > MAX_FAILED_SHARE * len(items):
            raise UserError(f"{told}: {failed[0]['reason']}; delete this folder to try them again")
        log.warning("%s: %s; they are left out", told, failed[0]["reason"])
    return failed
