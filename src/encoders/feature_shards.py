"""The shards of a feature cache: how they are planned, shared between processes, written, found and opened."""

import functools
import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import soundfile
from tqdm import tqdm

from core.arrays import read_array, write_array
from core.errors import UserError
from core.files import read_json, write_json
from core.frames import HOP_SAMPLES, samples_to_frames
from core.read_ahead import map_ahead
from core.records import AudioItem, FailedItem, FeatureSettings

SHARD_SECONDS, SHARD_ITEMS = 300.0, 64  # what a kill can cost at most
MAX_FAILED_SHARE = 0.05
OPEN_SHARDS = 128  # memory maps a process keeps open
LISTING_SHARE = 0.02  # of the time, at most, goes into looking for what others have finished
STALE_SECONDS = 3600.0  # a temporary file as old as this belongs to nobody

log = logging.getLogger("oral_units")

EncodeFeatures = Callable[[list[np.ndarray]], list[np.ndarray]]


class ShardRows(NamedTuple):
    """Where the features of one audio lie."""

    shard: str  # path of the .npy
    start: int  # first row
    n_frames: int


class Part(NamedTuple):
    """What the features of one encoder at one speed amount to so far."""

    folder: Path
    dim: int
    seen: set[str]  # names of the shards read
    entries: dict[str, ShardRows]  # audio hash -> its rows
    failures: dict[str, str]  # audio hash -> reason
    listed: list[float]  # s: when the folder was listed last, and how long that took


class MissingAudio(NamedTuple):
    """An audio that no shard knows."""

    audio_hash: str
    seconds: float
    load: Callable[[], np.ndarray]


class LoadedAudio(NamedTuple):
    audio_hash: str
    waveform: np.ndarray | None  # (S,) float32
    reason: str  # why there is none


@functools.lru_cache(maxsize=OPEN_SHARDS)
def open_shard(path: str) -> np.ndarray:
    return read_array(path, mapped=True)


def open_part(folder: Path, encoder_id: str, settings: FeatureSettings, speed: float) -> Part:
    """The folder of one encoder at one speed, with what its finished shards hold."""
    described = settings | {"speed": speed}
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    place = folder / f"{Path(encoder_id).name}_{key}"
    if not (place / "settings.json").exists():
        write_json(place / "settings.json", described | {"id": encoder_id})
    _remove_stale(place)
    part = Part(place, settings["dim"], set(), {}, {}, [0.0, 0.0])
    _read_new_shards(part)
    return part


def _remove_stale(place: Path) -> None:
    for path in place.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:  # its process was quicker
            continue


def _read_new_shards(part: Part) -> None:
    """Take up the shards that were finished, by whomever, since the last look."""
    begun = time.monotonic()
    found = {entry.name for entry in os.scandir(part.folder)} - part.seen
    for name in sorted(found):
        if name.startswith("shard_") and name.endswith(".json"):
            _read_shard(part, name)
    part.listed[:] = time.monotonic(), time.monotonic() - begun


def _read_shard(part: Part, name: str) -> None:
    path, start = part.folder / name, 0
    shard, rows = read_json(path), str(path.with_suffix(".npy"))
    part.seen.add(name)
    for audio_hash, n_frames in shard["items"]:
        part.entries[audio_hash] = ShardRows(rows, start, n_frames)
        start += n_frames
    part.failures.update(shard["failures"])


def _look_for(part: Part, shard: Sequence[MissingAudio]) -> None:
    """Take up what others have finished of a planned shard.

    Whoever plans the same shards gives them the same names. What others have planned differently is found by listing
    the folder, which takes longer the more shards there are: a LISTING_SHARE of the time goes into that, not more.
    """
    name = f"{_shard_name(audio.audio_hash for audio in shard)}.json"
    if name not in part.seen and (part.folder / name).exists():
        _read_shard(part, name)
    last, seconds = part.listed
    if (time.monotonic() - last) * LISTING_SHARE >= seconds:
        _read_new_shards(part)


def _shard_name(hashes: Iterable[str]) -> str:
    return f"shard_{hashlib.sha256(''.join(hashes).encode()).hexdigest()[:24]}"


def fill_part(
    part: Part,
    items: Iterable[AudioItem],
    encode: EncodeFeatures,
    *,
    share: tuple[int, int],
    num_workers: int,
    title: str = "encoding",
    quiet: bool = False,
) -> tuple[int, float]:
    """Encode the missing items shard by shard; returns how many this process encoded, and their seconds.

    encode: list of (S,) float32 -> list of (F, D) float16. share: (rank, world).
    """
    missing = _missing_audio(part, items)
    shards = _order_shards(_cut_shards(missing), *share)
    n_items, seconds, total = 0, 0.0, round(sum(audio.seconds for audio in missing))
    hidden = quiet or not missing or None
    with tqdm(total=total, unit="s of speech", desc=title, disable=hidden, smoothing=0.05) as progress:
        for planned, loaded in map_ahead(_load_audio, _still_missing(part, shards, progress), num_workers):
            _encode_shard(part, loaded, encode)
            encoded = sum(audio.seconds for audio in planned)
            n_items, seconds = n_items + len(planned), seconds + encoded
            progress.update(encoded)
    _read_new_shards(part)
    return n_items, seconds


def _is_known(part: Part, audio_hash: str) -> bool:
    return audio_hash in part.entries or audio_hash in part.failures


def _missing_audio(part: Part, items: Iterable[AudioItem]) -> list[MissingAudio]:
    """What no shard knows, each audio once, from short to long."""
    found = (MissingAudio(item["hash"], item["duration"], item["load"]) for item in items)
    unknown = {audio.audio_hash: audio for audio in found if not _is_known(part, audio.audio_hash)}
    return sorted(unknown.values(), key=lambda audio: (audio.seconds, audio.audio_hash))


def _cut_shards(missing: list[MissingAudio]) -> list[list[MissingAudio]]:
    shards: list[list[MissingAudio]] = []
    seconds = 0.0
    for audio in missing:
        if not shards or seconds + audio.seconds > SHARD_SECONDS or len(shards[-1]) == SHARD_ITEMS:
            shards.append([])
            seconds = 0.0
        shards[-1].append(audio)
        seconds += audio.seconds
    return shards


def _order_shards(shards: list[list], rank: int, world: int) -> list[list]:
    """This rank's shards, then the others' from the far end on, where they come last.

    A lone process begins anywhere, so that two unrelated ones do not run side by side over the same shards.
    """
    if world == 1:
        start = random.SystemRandom().randrange(len(shards)) if shards else 0
        return shards[start:] + shards[:start]
    others = [shard for index, shard in enumerate(shards) if index % world != rank]
    return shards[rank::world] + others[::-1]


def _still_missing(
    part: Part, shards: Iterable[list[MissingAudio]], progress: tqdm
) -> Iterator[tuple[list[MissingAudio], list[MissingAudio]]]:
    """(audio, audio) of every shard, less what another process has finished meanwhile."""
    for shard in shards:
        _look_for(part, shard)
        left = [audio for audio in shard if not _is_known(part, audio.audio_hash)]
        progress.update(sum(audio.seconds for audio in shard) - sum(audio.seconds for audio in left))
        if left:
            yield left, left


def _load_audio(audio: MissingAudio) -> LoadedAudio:
    """In a thread: a waveform, or why there is none."""
    try:
        waveform = np.asarray(audio.load(), np.float32)
    except (UserError, OSError, soundfile.SoundFileError) as error:
        return LoadedAudio(audio.audio_hash, None, str(error))
    if not np.isfinite(waveform).all():
        return LoadedAudio(audio.audio_hash, None, "expected finite samples, found NaN or Inf")
    if samples_to_frames(len(waveform)) == 0:
        return LoadedAudio(audio.audio_hash, None, f"expected at least {HOP_SAMPLES} samples, found {len(waveform)}")
    return LoadedAudio(audio.audio_hash, waveform, "")


def _encode_shard(part: Part, loaded: list[LoadedAudio], encode: EncodeFeatures) -> None:
    usable = [audio for audio in loaded if audio.waveform is not None]
    features = encode([audio.waveform for audio in usable])
    rows = [(audio.audio_hash, len(found)) for audio, found in zip(usable, features)]
    failures = {audio.audio_hash: audio.reason for audio in loaded if audio.waveform is None}
    path = part.folder / f"{_shard_name(audio.audio_hash for audio in loaded)}.npy"
    write_array(path, np.concatenate(features or [np.zeros((0, part.dim), np.float16)]))
    write_json(path.with_suffix(".json"), {"items": rows, "failures": failures})


def name_failures(part: Part, items: Sequence[AudioItem]) -> list[FailedItem]:
    """The items without features, and why; too many of them are refused."""
    identities = [(item["id"], item["hash"]) for item in items]
    failed: list[FailedItem] = [
        {"id": identity, "reason": part.failures[audio_hash]}
        for identity, audio_hash in identities
        if audio_hash in part.failures
    ]
    if failed:
        first, reason = failed[0]["id"], failed[0]["reason"]
        told = f"{part.folder}: {len(failed)} of {len(items)} items could not be encoded, first {first}"
        if len(failed) > MAX_FAILED_SHARE * len(items):
            raise UserError(f"{told}: {reason}; delete this folder to try them again")
        log.warning("%s: %s; they are left out", told, reason)
    return failed
