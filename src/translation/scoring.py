"""How well a translator foresees targets, with and without their sources.

Axes: N pairs, M targets, C channels.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tqdm import tqdm

from models.translator import Heard, Translator
from translation.examples import Example, move_batch, stack_examples
from translation.hearing import Sound, stack_sounds
from translation.losses import contrast_nats, target_nats
from unit_lm.batches import IGNORED
from unit_lm.vocabulary import PAD

ROWS_AT_ONCE = 32


class PairScores(NamedTuple):
    """Of each pair: nats of its target behind its source and alone, the target's tokens, and what both are about."""

    nats: np.ndarray  # (N,) float64
    alone: np.ndarray  # (N,) float64
    n_tokens: np.ndarray  # (N,) int64, <end> among them
    source: np.ndarray  # (N, C) float32, of length 1
    target: np.ndarray  # (N, C)


@torch.inference_mode()
def score_pairs(model: Translator, allowed: torch.Tensor, examples: Sequence[Example]) -> PairScores:
    """Each pair by itself, in order. ``model`` must be in eval mode."""
    found: list[list[np.ndarray]] = []
    for first in range(0, len(examples), ROWS_AT_ONCE):
        batch = move_batch(stack_examples(examples[first : first + ROWS_AT_ONCE]), allowed.device)
        said = model(batch.source, batch.heard, batch.tokens)
        counts = (batch.targets != IGNORED).sum(1)
        nats = [
            target_nats(logits, batch.targets, allowed).double().sum(1) if model.speaks else torch.zeros(len(counts))
            for logits in (said.logits, said.alone)
        ]
        found.append([value.cpu().numpy() for value in (*nats, counts, said.source, said.target)])
    return PairScores(*(np.concatenate(parts) for parts in zip(*found)))


def validation_losses(
    model: Translator, allowed: torch.Tensor, examples: Sequence[Example], weights: tuple[float, float]
) -> dict[str, float]:
    """Nats a token behind the source and alone, the mean contrast of the source languages, and what is chosen by.

    weights: of the nats behind the source, and of the contrast.
    """
    scores = score_pairs(model, allowed, examples)
    tokens = scores.n_tokens.sum()
    contrasts, first = [], []
    for language in dict.fromkeys(one.pair.source.language for one in examples):
        places = [place for place, one in enumerate(examples) if one.pair.source.language == language]
        source, target = (torch.from_numpy(side[places]) for side in (scores.source, scores.target))
        sharpness = model.log_sharpness.detach().exp().cpu()
        contrasts.append(contrast_nats(source, target, sharpness, torch.arange(len(places))).item())
        first += ((source @ target.T).argmax(1) == torch.arange(len(places))).tolist()
    nats = {"validation_token_nat": scores.nats.sum() / tokens, "validation_alone_nat": scores.alone.sum() / tokens}
    found = {name: float(value) for name, value in nats.items()} if model.speaks else {}
    found |= {"validation_contrast_nat": float(np.mean(contrasts)), "validation_recall_at_1": float(np.mean(first))}
    chosen = weights[0] * found.get("validation_token_nat", 0.0) + weights[1] * found["validation_contrast_nat"]
    return found | {"validation_loss_nat": chosen}


@torch.inference_mode()
def nats_matrix(
    model: Translator, allowed: torch.Tensor, sources: Sequence[Sound], targets: Sequence[np.ndarray], *, title: str
) -> np.ndarray:
    """(N, M) float64 nats of each target, (T + 1,) tokens with language and <end>, behind each source."""
    device = allowed.device
    batches = list(_target_batches(targets, device))
    found = np.zeros((len(sources), len(targets)))
    for row, sound in enumerate(tqdm(sources, desc=title, unit=" sources", disable=None)):
        heard = Heard(*(tensor.to(device) for tensor in stack_sounds([sound])))
        prompt = model.prompt(model.encode(heard))
        for places, tokens, wanted in batches:
            logits = model.say(prompt.expand(len(tokens), -1, -1), heard.seen.expand(len(tokens), -1), tokens)
            found[row, places] = target_nats(logits, wanted, allowed).double().sum(1).cpu().numpy()
    return found


def _target_batches(
    targets: Sequence[np.ndarray], device: torch.device
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Places, tokens (B, T) and what follows them (B, T), of targets of like length."""
    order = sorted(range(len(targets)), key=lambda place: len(targets[place]))
    for first in range(0, len(order), ROWS_AT_ONCE):
        places = order[first : first + ROWS_AT_ONCE]
        longest = max(len(targets[place]) for place in places) - 1
        tokens, wanted = np.full((len(places), longest), PAD, np.int64), np.full((len(places), longest), IGNORED)
        for row, place in enumerate(places):
            target = targets[place]
            tokens[row, : len(target) - 1], wanted[row, : len(target) - 1] = target[:-1], target[1:]
        yield places, torch.from_numpy(tokens).to(device), torch.from_numpy(wanted).to(device)
