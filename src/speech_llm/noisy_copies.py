"""Noisy copies of training utterances: the same words in another noise, cached as the copies at other speeds are."""

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from audio.augmentation import SNR_DB, coloured_noise, mix_at
from core.records import TranscribedItem

RECIPE = f"coloured noise at {SNR_DB[0]:g} to {SNR_DB[1]:g} dB"  # another recipe must have another hash


def with_noisy_copies(items: Sequence[TranscribedItem], n_copies: int) -> list[TranscribedItem]:
    """Each item with ``n_copies`` noisy ones under "noisy", which a batch may draw in its place."""
    if not n_copies:
        return list(items)
    return [item | {"noisy": [noisy_copy(item, number) for number in range(n_copies)]} for item in items]


def noisy_copy(item: TranscribedItem, number: int) -> TranscribedItem:
    """The item in a noise that follows from its audio and ``number`` alone, so that every run finds it in the cache."""
    noisy_hash = hashlib.sha256(f"{item['hash']} {RECIPE} {number}".encode()).hexdigest()
    load = functools.partial(load_in_noise, item["load"], int(noisy_hash, 16))
    return item | {"id": f"{item['id']} in noise {number}", "hash": noisy_hash, "load": load}


def load_in_noise(load: Callable[[], np.ndarray], seed: int) -> np.ndarray:
    """(S,) float32 at 16 kHz: what ``load`` gives, in noise of a random spectrum at a ratio drawn from SNR_DB."""
    waveform, random = load(), np.random.default_rng(seed)
    noise = coloured_noise(len(waveform), random)
    return mix_at(waveform, noise, random.uniform(*SNR_DB))


def all_noisy(items: Sequence[TranscribedItem]) -> list[TranscribedItem]:
    return [copy for item in items for copy in item.get("noisy", ())]


def keep_known_copies(
    items: Sequence[TranscribedItem], keep_known: Callable[[list[TranscribedItem]], list[TranscribedItem]]
) -> list[TranscribedItem]:
    """The items, less the noisy copies that could not be encoded (``FeatureSource.keep_known``)."""
    return [item | {"noisy": keep_known(item["noisy"])} if "noisy" in item else item for item in items]


def draw_copy(item: TranscribedItem, random: np.random.Generator) -> TranscribedItem:
    """The item or one of its noisy copies, each as likely; without copies nothing is drawn."""
    copies = item.get("noisy")
    return [item, *copies][random.integers(1 + len(copies))] if copies else item
