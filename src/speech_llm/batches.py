"""Batches of transcribed speech as a pure function of (seed, step): features, answers and labels, augmented or not.

Axes: B batch, F frames (50 Hz), D features a frame.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.errors import UserError
from core.read_ahead import run_ahead
from core.records import TranscribedItem
from models.connector import Connector
from models.speech_llm_model import SpeechBatch, SpeechLLMBase
from speech_llm.characters import text_labels
from speech_llm.decoding import pad_rows, send
from speech_llm.feature_sources import FeatureSource
from speech_llm.length_buckets import bucket_steps
from speech_llm.noisy_copies import draw_copy
from speech_llm.text_sizes import TextSizes, measure_texts

ENDLESS = 10**9  # batches: a training ends by its steps
STATISTICS_ITEMS = 200  # whose frames say how large each channel is
PERTURBED_SPEEDS = (0.9, 1.0, 1.1)  # of --speed_perturb (Ko et al. 2015)
DROPPED_SPAN = 8  # frames: the longest span that frame dropout takes at once; 160 ms, a syllable

log = logging.getLogger("oral_units")


def channel_statistics(
    source: FeatureSource, items: Sequence[TranscribedItem], connector: Connector | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(D,) mean and (D,) deviation of the features over an even spread of the items.

    connector: of what it hears in them, instead of the features as they are.
    """
    chosen = items[:: max(1, len(items) // STATISTICS_ITEMS)]
    total, squares, n_frames = 0.0, 0.0, 0
    for item in chosen:
        frames = source.read([item], [1.0])[0]
        frames = (frames if connector is None else _hear(connector, frames)).astype(np.float64)
        total, squares, n_frames = total + frames.sum(0), squares + (frames**2).sum(0), n_frames + len(frames)
    mean = total / n_frames
    deviation = np.sqrt(np.maximum(squares / n_frames - mean**2, 0.0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@torch.no_grad()
def _hear(connector: Connector, features: np.ndarray) -> np.ndarray:
    """(F, D) -> (F, D) that the connector standardizes."""
    mode, device = connector.training, next(connector.parameters()).device
    rows = torch.from_numpy(np.array(features)).float()[None].to(device)
    heard, _ = connector.eval().hear(rows, torch.tensor([len(features)], device=device))
    connector.train(mode)
    return heard[0].cpu().numpy()


def shuffle_audio(items: Sequence[TranscribedItem], seed: int) -> list[TranscribedItem]:
    """Every text with the audio of another item: the control that must not learn to listen."""
    if len(items) < 2:
        raise UserError(f"--shuffle_audio: expected two utterances or more, found {len(items)}")
    order = np.random.default_rng(seed).permutation(len(items))
    shifted = {int(order[place]): int(order[place - 1]) for place in range(len(order))}
    return [item | {"heard": items[shifted[place]]} for place, item in enumerate(items)]


def swap_neighbours(items: Sequence[TranscribedItem]) -> list[TranscribedItem]:
    """Every text with the audio of the item next in duration, so that its length gives nothing away."""
    order = sorted(range(len(items)), key=lambda place: (items[place]["duration"], items[place]["id"]))
    heard = {own: order[rank - 1] for rank, own in enumerate(order)}
    return [item | {"heard": items[heard[place]]} for place, item in enumerate(items)]


def planned_lengths(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    ctc_only: bool,
    sizes: TextSizes | None = None,
) -> list[int]:
    """Positions each item costs: of the connector alone, or of the LLM with prompt, audio and answer.

    sizes: of the items' texts, where they are known.
    """
    heard = np.array([source.count_frames(item.get("heard", item)) for item in items], np.int64)
    positions = -(-heard // model.connector.factor)
    if ctc_only:
        return positions.tolist()
    sizes = sizes or measure_texts(model.tokenizer, [item["text"] for item in items])
    audio = np.minimum(positions, sizes.n_letters) if model.compresses else positions
    audio = np.zeros_like(audio) if model.text_only else audio
    n_tokens = sizes.n_tokens.astype(np.int64) + len(model.stop_ids[:1])
    # A draft reads about as the answer does, misspelt.
    return (sum(map(len, model.pieces)) + audio + n_tokens * (3 if model.drafts_text else 1)).tolist()


def drop_frames(features: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """(F, D) with about ``share`` of its frames set to zero, in spans of up to DROPPED_SPAN (Park et al. 2019)."""
    n_frames = len(features)
    n_spans = random.poisson(share * n_frames / ((1 + DROPPED_SPAN) / 2))
    kept = np.ones((n_frames, 1), features.dtype)
    for _ in range(n_spans):
        start = random.integers(0, n_frames)
        kept[start : start + random.integers(1, DROPPED_SPAN + 1)] = 0
    return features * kept


class LoadedBatch(NamedTuple):
    """A batch as far as it can be made without the device."""

    features: object  # ``pad_rows``, or what ``FeatureSource.encode`` takes
    augment: Callable[[list[np.ndarray]], list[np.ndarray]] | None  # what is still to be done to encoded features
    answers: list[list[int]]
    labels: list[torch.Tensor]
    smoothing: float
    views: int = 1


def make_batch(
    model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem], **options: object
) -> SpeechBatch:
    """What ``SpeechLLMBase.forward`` reads. options: of ``load_batch``."""
    return finish_batch(model, source, load_batch(model, source, items, **options))


def load_batch(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    key: tuple[int, ...] | None = None,
    frame_dropout: float = 0.0,
    speeds: Sequence[float] = (1.0,),
    smoothing: float = 0.0,
    views: int = 1,
) -> LoadedBatch:
    """The part of a batch that threads make ahead. key: seeds the augmentation; None: no augmentation.

    views: copies of the items, all of them behind each other, at the same speed and otherwise disturbed.
    """
    chosen, augment, items = [1.0] * len(items) * views, None, [*items] * views
    heard, texts = [item.get("heard", item) for item in items], [item["text"] for item in items]
    if key is not None:
        random = np.random.default_rng(key)
        chosen = [float(speed) for speed in random.choice(speeds, len(items) // views)] * views
        heard = [draw_copy(item, random) for item in heard]
        if frame_dropout and model.units is None:
            augment = functools.partial(_drop_all, frame_dropout, random)
    if source.encode is None:
        features = source.read(heard, chosen)
        features = pad_rows(augment(features) if augment else features, pinned=model.device.type == "cuda")
    else:
        features = source.load(heard, chosen)
    return LoadedBatch(
        features,
        augment,
        answers=[model.answer_ids(text) for text in texts],
        labels=[text_labels(text, model.characters) for text in texts],
        smoothing=smoothing if key is not None else 0.0,
        views=views,
    )


def _drop_all(share: float, random: np.random.Generator, features: list[np.ndarray]) -> list[np.ndarray]:
    return [drop_frames(row, share, random) for row in features]


def finish_batch(model: SpeechLLMBase, source: FeatureSource, loaded: LoadedBatch) -> SpeechBatch:
    """Encode what is not yet encoded, and hand the batch to the model's device."""
    rows = loaded.features
    if source.encode is not None:
        features = source.encode(rows)
        rows = pad_rows(loaded.augment(features) if loaded.augment else features)
    padded, lengths = send(rows, model.device)
    return SpeechBatch(
        padded, lengths, answers=loaded.answers, labels=loaded.labels, smoothing=loaded.smoothing, views=loaded.views
    )


def stream_batches(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    chosen: Iterable[tuple[tuple[int, ...], list[int]]],
    *,
    n_batches: int,
    n_workers: int,
    **options: object,
) -> Iterator[list[SpeechBatch]]:
    """The ``n_batches`` batches of each step, made ahead by ``n_workers`` threads while the model computes.

    chosen: (key, indices of ``items``) of one batch after the other; options: of ``load_batch``.
    """

    def load(batch: tuple[tuple[int, ...], list[int]]) -> LoadedBatch:
        key, indices = batch
        return load_batch(model, source, [items[index] for index in indices], key=key, **options)

    batches = []
    for loaded in run_ahead(load, chosen, n_workers=n_workers, n_ahead=n_batches + n_workers):
        batches.append(finish_batch(model, source, loaded))
        if len(batches) == n_batches:
            yield batches
            batches = []


def stream_steps(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    lengths: Sequence[int],
    *,
    max_positions: int,
    max_items: int,
    key: tuple[int, int],
    first: int,
    rank: int = 0,
    world: int = 1,
    weights: Sequence[float] | None = None,
    **options: object,
) -> Iterator[list[SpeechBatch]]:
    """``stream_batches`` without end, of like length (``bucket_steps``), from the batch ``first`` on.

    lengths: of ``planned_lengths``; key: the seed and the phase; options: of ``stream_batches``.
    """
    longer = sum(length > max_positions for length in lengths)
    if longer:
        log.warning("%d utterances are longer than %d positions; each is a batch by itself", longer, max_positions)
    plan = {"max_positions": max_positions, "max_items": max_items, "seed": key[0], "first": first, "last": ENDLESS}
    chosen = bucket_steps(lengths, **plan, rank=rank, world=world, weights=weights)
    keyed = (((*key, number, rank), indices) for number, indices in enumerate(chosen, first))
    return stream_batches(model, source, items, keyed, **options)
