"""A frozen encoder's features, computed once: fp16 shards that training reads memory-mapped.

``<folder>/<model>_<key>/`` holds the features of one encoder: the key stands for its weights, layer, padding, precision
and speed. A shard is NAME.npy, (frames, D) float16 of several items below each other, and NAME.json, which lists the
items by the hash of their audio. The list is written last: without it a shard does not exist, so that whatever is
killed leaves finished shards behind and nothing else. A shard's name follows from what is in it; processes that make
the same one write the same bytes.

Axes: S samples at 16 kHz, F frames at 50 Hz, D features.
"""

import functools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from audio.audio_spans import change_speed
from core.device import has_fast_bf16
from core.errors import UserError
from core.records import AudioItem, FailedItem, FeatureSettings
from encoders.encode import Encoder, encode, load_encoder
from encoders.feature_shards import ShardRows, fill_part, name_failures, open_part, open_shard
from encoders.table import check_padding, describe_encoder, hash_encoder, last_layer, stays_on_cpu
from encoders.whisper import PADDINGS

FORMAT_VERSION = 1


class FeatureCache(NamedTuple):
    """Where the features of some items lie, and what it took to make them. It can be pickled."""

    folder: str
    dim: int  # features of a frame
    entries: dict[float, dict[str, ShardRows]]  # speed -> audio hash -> rows of a shard
    failed: list[FailedItem]
    n_encoded: int  # items that were missing
    seconds_encoded: float  # of audio
    encode_seconds: float
    megabytes: float  # on disk, of these items


def open_encoder(
    encoder_id: str, layer: int | None = None, *, precision: str = "auto", device: str = "cpu", padding: str = "full"
) -> Encoder:
    """The encoder for ``encode_features``: ``layer`` None is the last, behind the model's final norm.

    precision: "fp32", "bf16" or "auto" (bf16 where ``device`` computes in it). padding: "full" or "short" (Whisper).
    """
    settings = describe_features(encoder_id, layer, precision=precision, device=device, padding=padding)
    return _load(encoder_id, settings, device)


def _load(encoder_id: str, settings: FeatureSettings, device: str) -> Encoder:
    dtype = torch.bfloat16 if settings["precision"] == "bf16" else torch.float32
    return load_encoder(encoder_id, settings["layer"], device, dtype, padding=settings["padding"])


def describe_features(
    encoder_id: str, layer: int | None = None, *, precision: str = "auto", device: str = "cpu", padding: str = "full"
) -> FeatureSettings:
    """What features depend on besides the audio and its speed, without loading weights."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"expected precision auto, fp32 or bf16, found '{precision}'")
    if padding not in PADDINGS:
        raise UserError(f"expected padding {' or '.join(PADDINGS)}, found '{padding}'")
    layer = last_layer(encoder_id) if layer is None else layer
    described = describe_encoder(encoder_id, layer)
    check_padding(encoder_id, described.family, padding)
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return {
        "encoder_hash": hash_encoder(encoder_id),
        "layer": layer,
        "dim": described.dim,
        "padding": padding,
        "precision": "fp32" if stays_on_cpu(encoder_id) else precision,
        "version": FORMAT_VERSION,
    }


def encode_features(encoder: Encoder, waveforms: Sequence[np.ndarray], *, speed: float = 1.0) -> list[np.ndarray]:
    """List of (S,) float32 -> list of (F, D) float16: what the cache would hold. UserError beyond fp16's range."""
    features = encode(encoder, [change_speed(waveform, speed) for waveform in waveforms])
    with np.errstate(over="ignore"):
        halves = [values.astype(np.float16) for values in features]
    if not all(np.isfinite(half).all() for half in halves):
        raise UserError(
            f"{encoder.name}, layer {encoder.layer}: expected features within fp16's range (65504), found "
            f"{max(np.abs(values).max(initial=0) for values in features):g}; choose another --layer"
        )
    return halves


def fill_feature_cache(
    folder: Path,
    items: Sequence[AudioItem],
    *,
    encoder_id: str,
    layer: int | None = None,
    speed: float | Iterable[float] = 1.0,
    precision: str = "auto",
    padding: str = "full",
    device: str = "cpu",
    rank: int = 0,
    world: int = 1,
    num_workers: int = 2,
    quiet: bool = False,
) -> FeatureCache:
    """Encode what the cache lacks of ``items`` (speech_llm.transcribed_items) at every ``speed``; returns the cache.

    Items whose audio could not be encoded are named with the reason, and refused where they are more than 5 %. The
    weights are loaded only where something is missing. ``rank`` of ``world`` processes start with their own share and
    then help the others, so that all return with everything there; unrelated processes share the work too.
    """
    settings = describe_features(encoder_id, layer, precision=precision, device=device, padding=padding)
    speeds = [float(speed)] if isinstance(speed, (int, float)) else [float(value) for value in speed]
    load = functools.cache(lambda: _load(encoder_id, settings, device))
    entries: dict[float, dict[str, ShardRows]] = {}
    failed: list[FailedItem] = []
    n_encoded, seconds_encoded, encode_seconds = 0, 0.0, 0.0
    for factor in speeds:
        part, started = open_part(Path(folder), encoder_id, settings, factor), time.monotonic()
        n_items, seconds = fill_part(
            part,
            items,
            lambda waveforms, factor=factor: encode_features(load(), waveforms, speed=factor),
            share=(rank, world),
            num_workers=num_workers,
            title=f"encoding at speed {factor:g}" if factor != 1 else "encoding",
            quiet=quiet or rank > 0,
        )
        n_encoded, seconds_encoded = n_encoded + n_items, seconds_encoded + seconds
        encode_seconds += time.monotonic() - started if n_items else 0.0
        hashes = [item["hash"] for item in items]
        entries[factor] = {audio_hash: part.entries[audio_hash] for audio_hash in hashes if audio_hash in part.entries}
        failed += name_failures(part, items)
    dim = settings["dim"]
    n_frames = sum(rows.n_frames for found in entries.values() for rows in found.values())
    megabytes = n_frames * dim * 2 / 1e6
    return FeatureCache(str(folder), dim, entries, failed, n_encoded, seconds_encoded, encode_seconds, megabytes)


def cached_features(cache: FeatureCache, item: AudioItem, speed: float = 1.0) -> np.ndarray:
    """(F, D) float16 of one item, memory-mapped and read-only. UserError for what the cache does not hold."""
    rows = cache.entries.get(float(speed), {}).get(item["hash"])
    if rows is None:
        raise UserError(f"{cache.folder}: expected features of '{item['id']}' at speed {speed:g}, found none; fill it")
    return open_shard(rows.shard)[rows.start : rows.start + rows.n_frames]
