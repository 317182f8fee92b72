"""Batches of transcribed speech as a pure function of (seed, step): features, answers and labels, augmented or not.

Axes: B batch, F frames (50 Hz), D features a frame.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from core.errors import UserError
from core.text import normalise_text
from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import pad_features

STATISTICS_ITEMS = 200  # whose frames say how large each channel is
SPEEDS = (0.9, 1.0, 1.1)  # of --speed_perturb (Ko et al. 2015)
DROPPED_SPAN = 8  # frames: the longest span that frame dropout takes at once; 160 ms, a syllable


def ctc_characters(texts: Sequence[str]) -> str:
    """The characters of the normalised texts, sorted: what a CTC head is taught."""
    return "".join(sorted({character for text in texts for character in normalise_text(text)}))


def text_labels(text: str, characters: str) -> torch.Tensor:
    """(characters,) int64 rows of the CTC head; what it does not know is left out."""
    rows = {character: row for row, character in enumerate(characters, 1)}
    return torch.tensor([rows[c] for c in normalise_text(text) if c in rows], dtype=torch.long)


def token_rate(tokenizer, items: Sequence[dict]) -> float:
    """Tokens a second that no training utterance exceeds: answers are allowed half as many again."""
    rates = [len(tokenizer.encode(item["text"])) / max(item["duration"], 1.0) for item in items]
    return round(1.5 * max(rates), 2)


def cached_source(cache: dict) -> dict:
    """Features out of the cache (encoders.feature_cache)."""
    from encoders.feature_cache import cached_features

    return {"read": lambda items, speeds: [cached_features(cache, i, s) for i, s in zip(items, speeds)], "cache": cache}


def encoder_source(encoder: dict) -> dict:
    """Features computed anew each time, for measuring and for corpora that are read once."""
    from encoders.feature_cache import encode_features

    def read(items: Sequence[dict], speeds: Sequence[float]) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for speed in sorted(set(speeds)):
            places = [place for place, own in enumerate(speeds) if own == speed]
            waveforms = [items[place]["load"]() for place in places]
            found |= zip(places, encode_features(encoder, waveforms, speed=speed))
        return [found[place] for place in range(len(items))]

    return {"read": read, "cache": None}


def unit_source(sequences: dict[str, np.ndarray], units_exp: Path, items: Sequence[dict]) -> dict:
    """Unit or motif ids of phase 1 and 2 in place of features. Raises UserError for items they do not know."""
    unknown = [item["id"] for item in items if item["id"] not in sequences]
    if unknown:
        raise UserError(
            f"{units_exp}: expected units of every transcribed segment, found none of {len(unknown)} "
            f"({', '.join(unknown[:3])}…); run phase 1 on the same data"
        )
    return {"read": lambda chosen, speeds: [sequences[item["id"]] for item in chosen], "cache": None}


def count_frames(source: dict, item: dict) -> int:
    """Frames of an item, without encoding it where the features are not cached."""
    if source["cache"] is not None:
        return source["cache"].entries[1.0][item["hash"]].n_frames
    return max(1, round(item["duration"] * 50))


def channel_statistics(source: dict, items: Sequence[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    """(D,) mean and (D,) deviation of the features over an even spread of the items."""
    chosen = items[:: max(1, len(items) // STATISTICS_ITEMS)]
    total, squares, n_frames = 0.0, 0.0, 0
    for item in chosen:
        frames = source["read"]([item], [1.0])[0].astype(np.float64)
        total, squares, n_frames = total + frames.sum(0), squares + (frames**2).sum(0), n_frames + len(frames)
    mean = total / n_frames
    deviation = np.sqrt(np.maximum(squares / n_frames - mean**2, 0.0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def shuffle_audio(items: Sequence[dict], seed: int) -> list[dict]:
    """Every text with the audio of another item: the control that must not learn to listen."""
    if len(items) < 2:
        raise UserError(f"--shuffle_audio: expected two utterances or more, found {len(items)}")
    order = np.random.default_rng(seed).permutation(len(items))
    shifted = {int(order[place]): int(order[place - 1]) for place in range(len(order))}
    return [item | {"heard": items[shifted[place]]} for place, item in enumerate(items)]


def swap_neighbours(items: Sequence[dict]) -> list[dict]:
    """Every text with the audio of the item next in duration, so that its length gives nothing away."""
    order = sorted(range(len(items)), key=lambda place: (items[place]["duration"], items[place]["id"]))
    heard = {own: order[rank - 1] for rank, own in enumerate(order)}
    return [item | {"heard": items[heard[place]]} for place, item in enumerate(items)]


def planned_lengths(model: SpeechLLMBase, source: dict, items: Sequence[dict], *, ctc_only: bool) -> list[int]:
    """Positions each item costs: of the connector alone, or of the LLM with prompt, audio and answer."""
    config, factor = model.config, model.config["connector"]["factor"]
    fixed = sum(map(len, model.pieces))
    lengths = []
    for item in items:
        positions = math.ceil(count_frames(source, item.get("heard", item)) / factor)
        if not ctc_only:
            n_characters, n_tokens = len(normalise_text(item["text"])), len(model.answer_ids(item["text"]))
            audio = min(positions, n_characters) if config.get("ctc_compress") else positions
            # A draft reads about as the answer does, misspelt.
            positions = fixed + audio + n_tokens * (3 if config.get("ctc_draft") else 1)
        lengths.append(positions)
    return lengths


def drop_frames(features: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """(F, D) with about ``share`` of its frames set to zero, in spans of up to DROPPED_SPAN (Park et al. 2019)."""
    n_frames = len(features)
    n_spans = random.poisson(share * n_frames / ((1 + DROPPED_SPAN) / 2))
    kept = np.ones((n_frames, 1), features.dtype)
    for _ in range(n_spans):
        start = random.integers(0, n_frames)
        kept[start : start + random.integers(1, DROPPED_SPAN + 1)] = 0
    return features * kept


def make_batch(
    model: SpeechLLMBase,
    source: dict,
    items: Sequence[dict],
    *,
    key: tuple[int, ...] | None = None,
    frame_dropout: float = 0.0,
    speeds: Sequence[float] = (1.0,),
    smoothing: float = 0.0,
) -> dict:
    """What ``SpeechLLMBase.forward`` reads. key: seeds the augmentation; None: none."""
    chosen, random = [1.0] * len(items), None
    if key is not None:
        random = np.random.default_rng(key)
        chosen = [float(speed) for speed in random.choice(speeds, len(items))]
    features = source["read"]([item.get("heard", item) for item in items], chosen)
    if random is not None and frame_dropout and model.units is None:
        features = [drop_frames(row, frame_dropout, random) for row in features]
    padded, lengths = pad_features(features, model.device)
    characters = model.config.get("characters", "")
    return {
        "features": padded,
        "lengths": lengths,
        "answers": [model.answer_ids(item["text"]) for item in items],
        "labels": [text_labels(item["text"], characters) for item in items],
        "smoothing": smoothing if key is not None else 0.0,
    }
