"""Where the features of a speech LLM come from: a cache on disk, the encoder itself, or acoustic units.

Axes: F frames (50 Hz), D features a frame, L ids of one utterance.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_spans import change_speed
from core.errors import UserError
from core.frames import SAMPLE_RATE, samples_to_frames
from core.records import TranscribedItem
from speech_llm.many_datasets import by_dataset
from speech_llm.unit_inputs import load_unit_sequences


class FeatureSource(NamedTuple):
    """Features by item, and what is known of them without reading any."""

    read: Callable[[Sequence[TranscribedItem], Sequence[float]], list[np.ndarray]]  # items, speeds -> (F, D) or (L,)
    count_frames: Callable[[TranscribedItem], int]
    keep_known: Callable[[list[TranscribedItem]], list[TranscribedItem]]  # less what could not be encoded
    in_dim: int  # D, or the size of a unit's embedding
    n_units: int = 0  # 0: continuous features
    # Where reading takes a device: the part that threads may do ahead, and the part that the device does with it.
    load: Callable[[Sequence[TranscribedItem], Sequence[float]], list] | None = None
    encode: Callable[[list], list[np.ndarray]] | None = None


def frames_of_duration(item: TranscribedItem) -> int:
    """Frames of an item by its duration, at least one: as many as an encoder gives for so many samples."""
    return max(1, samples_to_frames(round(item["duration"] * SAMPLE_RATE)))


def keep_all(items: list[TranscribedItem]) -> list[TranscribedItem]:
    return items


def open_cached_source(
    folder: Path | Sequence[Path],
    wanted: Sequence[tuple[Sequence[TranscribedItem], Sequence[float]]],
    *,
    encoder_id: str,
    layer: int | None,
    padding: str,
    precision: str,
    device: str,
    num_workers: int,
    rank: int,
    world: int,
) -> FeatureSource:
    """Features of (items, speeds) out of a cache, which is filled first (encoders.feature_cache).

    folder: of the cache; of several data sets (speech_llm.many_datasets) one for each.
    """
    from encoders.feature_cache import cached_features, fill_feature_cache
    from encoders.feature_shards import ShardRows

    folders = [folder] if isinstance(folder, Path) else folder
    caches = [
        fill_feature_cache(
            folders[place],
            some,
            encoder_id=encoder_id,
            layer=layer,
            speed=speeds,
            precision=precision,
            padding=padding,
            device=device,
            num_workers=num_workers,
            rank=rank,
            world=world,
        )
        for items, speeds in wanted
        for place, some in enumerate(by_dataset(items, len(folders)))
        if some
    ]
    entries: dict[float, dict[str, ShardRows]] = {}
    for cache in caches:
        for speed, found in cache.entries.items():
            entries.setdefault(speed, {}).update(found)
    whole, plain = caches[0]._replace(entries=entries), entries[1.0]
    return FeatureSource(
        read=lambda items, speeds: [cached_features(whole, item, speed) for item, speed in zip(items, speeds)],
        count_frames=lambda item: plain[item["hash"]].n_frames,
        keep_known=lambda items: [item for item in items if item["hash"] in plain],
        in_dim=whole.dim,
    )


def open_encoder_source(
    encoder_id: str, layer: int | None, *, padding: str, precision: str, device: str
) -> FeatureSource:
    """Features computed at every step, for measuring and for corpora that are read once."""
    from encoders.feature_cache import encode_features, open_encoder

    encoder = open_encoder(encoder_id, layer, precision=precision, device=device, padding=padding)

    def load(items: Sequence[TranscribedItem], speeds: Sequence[float]) -> list[np.ndarray]:
        return [change_speed(item["load"](), speed) for item, speed in zip(items, speeds)]

    encode = functools.partial(encode_features, encoder)
    return FeatureSource(
        read=lambda items, speeds: encode(load(items, speeds)),
        count_frames=frames_of_duration,
        keep_known=keep_all,
        in_dim=encoder.model.dim,
        load=load,
        encode=encode,
    )


def open_unit_source(
    units_exp: Path, bpe_exp: Path | None, items: Sequence[TranscribedItem], *, embedding_dim: int
) -> FeatureSource:
    """Unit ids of phase 1, or tokens of phase 2, in place of features. Raises UserError for items they do not know."""
    sequences, n_units = load_unit_sequences(units_exp, bpe_exp)
    unknown = [item["id"] for item in items if item["id"] not in sequences]
    if unknown:
        raise UserError(
            f"{units_exp}: expected units of every transcribed segment, found none of {len(unknown)} "
            f"({', '.join(unknown[:3])}…); run phase 1 on the same data"
        )
    return FeatureSource(
        read=lambda chosen, speeds: [sequences[item["id"]] for item in chosen],
        count_frames=frames_of_duration,
        keep_known=keep_all,
        in_dim=embedding_dim,
        n_units=n_units,
    )
