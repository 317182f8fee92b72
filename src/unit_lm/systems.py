"""What is compared on the same utterances: trained models, n-grams, the unigram."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unit_lm.ngram import NgramModel, fit_kneser_ney, ngram_nats
from unit_lm.saved_lm import UnitLM
from unit_lm.scoring import as_bits, utterance_nats
from unit_lm.utterances import UnitUtterance, tokenize
from unit_lm.vocabulary import Vocabulary, allowed_tokens, frame_tokens, language_row, language_token

NGRAM_ORDERS = (2, 3, 4, 5)


class System(NamedTuple):
    """A name, and a function: utterances -> nats (T + 1,) of the tokens of each, and of its end."""

    name: str
    nats: Callable[[Sequence[UnitUtterance]], list[np.ndarray]]
    timed: bool  # whether its tokens tell how long units last


def model_system(name: str, lm: UnitLM, *, bf16: bool = False) -> System:
    def nats(utterances: Sequence[UnitUtterance]) -> list[np.ndarray]:
        pairs = [(one.language, tokens) for one, tokens in zip(utterances, tokenize(lm.vocabulary, utterances))]
        return list(utterance_nats(lm.model, lm.vocabulary, pairs, lm.allowed, lm.context, bf16=bf16))

    return System(name, nats, lm.vocabulary.kind == "frames")


def ngram_system(name: str, models: Sequence[NgramModel], vocabulary: Vocabulary) -> System:
    """``models``: one for each language of the vocabulary; several may be the same."""

    def nats(utterances: Sequence[UnitUtterance]) -> list[np.ndarray]:
        framed = _framed(vocabulary, utterances)
        rows = [language_row(vocabulary, one.language) for one in utterances]
        return [next(ngram_nats(models[row], [sequence])) for row, sequence in zip(rows, framed)]

    return System(name, nats, vocabulary.kind == "frames")


def _framed(vocabulary: Vocabulary, utterances: Sequence[UnitUtterance]) -> list[np.ndarray]:
    tokens = tokenize(vocabulary, utterances)
    return [frame_tokens(vocabulary, one.language, found) for one, found in zip(utterances, tokens)]


def fit_ngrams(
    vocabulary: Vocabulary, training: Sequence[UnitUtterance], order: int, groups: Sequence[int]
) -> list[NgramModel]:
    """A model for each language, of all the speech of its group: ``groups`` numbers that of each language."""
    framed, allowed = _framed(vocabulary, training), allowed_tokens(vocabulary)
    rows = [language_row(vocabulary, one.language) for one in training]
    fitted = {}
    for group in set(groups):
        members = [row for row in range(len(groups)) if groups[row] == group]
        sequences = [sequence for row, sequence in zip(rows, framed) if row in members]
        starts = [language_token(vocabulary, vocabulary.languages[row]) for row in members]
        fitted[group] = fit_kneser_ney(sequences, order, allowed[members], starts)
    return [fitted[group] for group in groups]


class ChosenNgram(NamedTuple):
    system: System
    order: int
    pooled: bool  # over the languages that share their units
    validation_bits_per_second: float


def choose_kneser_ney(
    vocabulary: Vocabulary,
    training: Sequence[UnitUtterance],
    validation: Sequence[UnitUtterance],
    seconds: float,
    orders: Sequence[int] = NGRAM_ORDERS,
) -> ChosenNgram:
    """Of each order, of each language alone and of languages together: what needs the fewest bits on validation."""
    alone = tuple(range(len(vocabulary.languages)))
    found = []
    for pooled, groups in {True: vocabulary.block_of, False: alone}.items():
        if not pooled and alone == vocabulary.block_of:
            continue
        for order in orders:
            system = ngram_system("kneser_ney", fit_ngrams(vocabulary, training, order, groups), vocabulary)
            bits = as_bits(sum(float(row.sum()) for row in system.nats(validation))) / seconds
            found.append(ChosenNgram(system, order, pooled, bits))
    return min(found, key=lambda one: one.validation_bits_per_second)


def unigram_system(vocabulary: Vocabulary, training: Sequence[UnitUtterance]) -> System:
    """How often each token comes, in each language."""
    groups = range(len(vocabulary.languages))
    return ngram_system("unigram", fit_ngrams(vocabulary, training, 1, groups), vocabulary)


def name_of(exp: Path) -> str:
    """A trained model's name in the tables."""
    return Path(exp).resolve().name
