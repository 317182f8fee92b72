"""Pairs as a training reads them, and batches of them.

Axes: B pairs, S places of the source, T tokens of the target, N letters.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.text_normalisation import normalise_text
from models.translator import Heard
from translation.hearing import Sound, count_places, stack_sounds
from translation.pairs import Pair
from unit_lm.batches import IGNORED
from unit_lm.vocabulary import PAD

BLANK = 0  # of the text loss
LENGTH_BLUR = 0.25  # of the log of a length: pairs meet others in every epoch
GROUP = 10  # pairs of like length, among which the control shuffles


class Example(NamedTuple):
    """A pair with all that the model needs of it."""

    pair: Pair
    source: Sound
    heard: Sound  # the target, as the encoder hears it
    target: np.ndarray  # (T + 1,) int64: the language, what is said, <end>
    letters: np.ndarray  # (N,) int64 of the source's text, from 1; none where it is not known or not asked for
    seconds: tuple[float, float]  # of source and target, by their frames


class PairBatch(NamedTuple):
    source: Heard
    heard: Heard
    tokens: torch.Tensor  # (B, T) int64
    targets: torch.Tensor  # (B, T) int64: the next token, or IGNORED
    letters: torch.Tensor  # (B, N) int64, filled up with BLANK
    prompts: torch.Tensor  # (B,) int64: equal where two pairs say the same


def list_letters(texts: Sequence[str]) -> list[str]:
    """Every letter of the texts, sorted."""
    return sorted(set("".join(map(normalise_text, texts))))


def spell(text: str, letters: Sequence[str]) -> np.ndarray:
    """(N,) numbers of a text's letters, from 1; letters that are not known are left out."""
    places = {letter: place for place, letter in enumerate(letters, BLANK + 1)}
    return np.array([places[letter] for letter in normalise_text(text) if letter in places], np.int64)


def fits(example: Example, context: int) -> bool:
    """Whether source and target find room in a row of the decoder."""
    return count_places(example.source) + len(example.target) - 1 <= context


def stack_examples(examples: Sequence[Example]) -> PairBatch:
    """Pairs as one batch."""
    n_tokens = max(len(one.target) for one in examples) - 1
    tokens = np.full((len(examples), n_tokens), PAD, np.int64)
    targets = np.full((len(examples), n_tokens), IGNORED, np.int64)
    letters = np.full((len(examples), max(len(one.letters) for one in examples)), BLANK, np.int64)
    for row, one in enumerate(examples):
        tokens[row, : len(one.target) - 1], targets[row, : len(one.target) - 1] = one.target[:-1], one.target[1:]
        letters[row, : len(one.letters)] = one.letters
    names = {name: number for number, name in enumerate(dict.fromkeys(one.pair.prompt for one in examples))}
    prompts = [names[one.pair.prompt] for one in examples]
    plain = map(torch.from_numpy, (tokens, targets, letters, np.array(prompts, np.int64)))
    return PairBatch(
        stack_sounds([one.source for one in examples]), stack_sounds([one.heard for one in examples]), *plain
    )


def move_batch(batch: PairBatch, device: torch.device) -> PairBatch:
    source, heard = (Heard(*(tensor.to(device) for tensor in side)) for side in batch[:2])
    return PairBatch(source, heard, *(tensor.to(device) for tensor in batch[2:]))


def places_of_step(seconds: Sequence[float], batch_size: int, seed: int, step: int) -> list[int]:
    """Which pairs a step takes: of like length, so that little is padded, and other targets are no shorter or longer.

    A function of (seed, step) alone. Each pair comes at most once an epoch, and hardly one is missed.
    """
    n_batches = max(1, len(seconds) // batch_size)
    epoch, number = divmod(step, n_batches)
    rng = np.random.default_rng([seed, epoch])
    chosen = np.resize(rng.permutation(len(seconds)), n_batches * batch_size)
    blurred = np.log(np.asarray(seconds)[chosen]) + LENGTH_BLUR * rng.standard_normal(len(chosen))
    batches = chosen[np.argsort(blurred, kind="stable")].reshape(n_batches, batch_size)
    return batches[rng.permutation(n_batches)[number]].tolist()


def shuffle_targets(examples: Sequence[Example], seed: int) -> list[Example]:
    """The control: each source gets the target of another pair of its language, of like length.

    So lengths still fit, and nothing else. Groups of ``GROUP`` neighbours by length change their targets in a ring.
    """
    rng = np.random.default_rng(seed)
    by_language: Mapping[str, list[int]] = {}
    for place, one in enumerate(examples):
        by_language.setdefault(one.pair.source.language, []).append(place)
    found = list(examples)
    for places in by_language.values():
        order = sorted(places, key=lambda place: examples[place].seconds[1])
        for first in range(0, len(order), GROUP):
            ring = rng.permutation(order[first : first + GROUP])
            for place, other in zip(ring, np.roll(ring, 1)):
                given = examples[other]
                pair = found[place].pair._replace(target=given.pair.target, prompt=given.pair.prompt)
                found[place] = found[place]._replace(
                    pair=pair,
                    heard=given.heard,
                    target=given.target,
                    seconds=(found[place].seconds[0], given.seconds[1]),
                )
    return found
