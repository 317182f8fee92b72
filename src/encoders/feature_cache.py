"""A frozen encoder's features, computed once: fp16 shards that training reads memory-mapped.

``<folder>/<model>_<key>/`` holds the features of one encoder: the key stands for its weights, layer, padding, precision
and speed. A shard is NAME.npy, (frames, D) float16 of several items below each other, and NAME.json, which lists the
items by the hash of their audio. The second is written last: without it a shard does not exist, so that whatever is
killed leaves finished shards behind and nothing else. A shard's name follows from what is in it; processes that make
the same one write the same bytes.

Axes: S samples at 16 kHz, F frames at 50 Hz, D features.
"""

import functools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from audio.audio_spans import change_speed
from core.device import has_fast_bf16
from core.errors import UserError
from core.hashing import hash_encoder
from encoders.encode import describe_encoder, encode, load_encoder
from encoders.feature_shards import fill_part, name_failures, open_part, open_shard
from encoders.pretrained import PADDINGS, read_pretrained_config

FORMAT_VERSION = 1


def open_encoder(
    encoder_id: str, layer: int | None = None, *, precision: str = "auto", device: str = "cpu", padding: str = "full"
) -> dict:
    """The encoder for ``encode_features``: ``layer`` None is the last, behind the model's final norm.

    precision: "fp32", "bf16" or "auto" (bf16 where ``device`` computes in it). padding: "full" or "short" (Whisper).
    """
    settings = describe_features(encoder_id, layer, precision=precision, device=device, padding=padding)
    dtype = torch.bfloat16 if settings["precision"] == "bf16" else torch.float32
    return load_encoder(encoder_id, settings["layer"], device, dtype, padding=padding)


def describe_features(
    encoder_id: str, layer: int | None = None, *, precision: str = "auto", device: str = "cpu", padding: str = "full"
) -> dict:
    """What features depend on beside the audio and its speed, without loading weights."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"expected precision auto, fp32 or bf16, found '{precision}'")
    if padding not in PADDINGS:
        raise UserError(f"expected padding {' or '.join(PADDINGS)}, found '{padding}'")
    if layer is None and encoder_id != "mfcc":
        layer = read_pretrained_config(encoder_id).num_hidden_layers
    described = describe_encoder(encoder_id, layer)
    if padding != "full" and described["family"] != "whisper":
        raise UserError(f"{encoder_id}: expected padding 'full', found '{padding}'; only Whisper pads to 30 s")
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return {
        "encoder_hash": hash_encoder(encoder_id),
        "layer": layer,
        "dim": described["dim"],
        "padding": padding,
        "precision": "fp32" if encoder_id == "mfcc" else precision,
        "version": FORMAT_VERSION,
    }


def encode_features(encoder: dict, waveforms: Sequence[np.ndarray], *, speed: float = 1.0) -> list[np.ndarray]:
    """List of (S,) float32 -> list of (F, D) float16: what the cache would hold. UserError beyond fp16's range."""
    features = encode(encoder, [change_speed(waveform, speed) for waveform in waveforms])
    with np.errstate(over="ignore"):
        halves = [values.astype(np.float16) for values in features]
    if not all(np.isfinite(half).all() for half in halves):
        raise UserError(
            f"{encoder['name']}, layer {encoder['layer']}: expected features within fp16's range (65504), found "
            f"{max(np.abs(values).max(initial=0) for values in features):g}; choose another --layer"
        )
    return halves


def fill_feature_cache(
    folder: Path,
    items: Sequence[dict],
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
) -> dict:
    """Encode what the cache lacks of ``items`` (speech_llm.transcribed_items) at every ``speed``; returns the cache.

    The cache is a plain dict that can be pickled: ``entries`` {speed: {audio hash: (shard, first row, frames)}},
    ``dim``, ``failed`` (items whose audio could not be encoded, with the reason: named, and refused where they are more
    than 5 %), ``n_encoded``, ``seconds_encoded``, ``megabytes`` on disk of these items and ``encode_seconds`` it took.
    The weights are loaded only where something is missing. ``rank`` of ``world`` processes start with their own share
    and then help the others, so that all return with everything there; unrelated processes share the work too.
    """
    settings = describe_features(encoder_id, layer, precision=precision, device=device, padding=padding)
    speeds = [float(speed)] if isinstance(speed, (int, float)) else [float(value) for value in speed]
    cache = {"folder": str(folder), "encoder": settings | {"id": encoder_id}, "dim": settings["dim"]}
    cache |= {"entries": {}, "failed": [], "n_encoded": 0, "seconds_encoded": 0.0, "encode_seconds": 0.0}
    load = functools.cache(
        lambda: open_encoder(
            encoder_id, settings["layer"], precision=settings["precision"], device=device, padding=padding
        )
    )
    for factor in speeds:
        part = open_part(Path(folder), encoder_id, settings, factor)
        started = time.monotonic()
        bar = {"desc": f"encoding at speed {factor:g}" if factor != 1 else "encoding", "quiet": quiet or rank > 0}
        done = fill_part(
            part,
            items,
            lambda waveforms, factor=factor: encode_features(load(), waveforms, speed=factor),
            share=(rank, world),
            num_workers=num_workers,
            bar=bar,
        )
        cache["n_encoded"] += done["n_items"]
        cache["seconds_encoded"] += done["seconds"]
        cache["encode_seconds"] += time.monotonic() - started if done["n_items"] else 0.0
        cache["entries"][factor] = {
            item["hash"]: part["entries"][item["hash"]] for item in items if item["hash"] in part["entries"]
        }
        cache["failed"] += name_failures(part, items)
    frames = sum(entry[2] for entries in cache["entries"].values() for entry in entries.values())
    cache["megabytes"] = frames * settings["dim"] * 2 / 1e6
    return cache


def cached_features(cache: dict, item: dict, speed: float = 1.0) -> np.ndarray:
    """(F, D) float16 of one item, memory-mapped and read-only. UserError for what the cache does not hold."""
    entry = cache["entries"].get(float(speed), {}).get(item["hash"])
    if entry is None:
        raise UserError(
            f"{cache['folder']}: expected features of '{item['id']}' at speed {speed:g}, found none; fill it"
        )
    shard, start, n_frames = entry
    return open_shard(shard)[start : start + n_frames]
