"""An n-gram model: interpolated modified Kneser-Ney, and with it the unigram.

S. Chen and J. Goodman (1999), "An empirical study of smoothing techniques for language modeling", Computer Speech and
Language 13: section 4.1.6 and the appendix on discounts. Counts of lower orders are numbers of different tokens on the
left; those that begin an utterance have nothing on the left and keep their counts. No library fits: NLTK's estimator
has one fixed discount and adds up all counts for every token, and KenLM's estimator must be built from source.

An n-gram is the number of its first n - 1 tokens, as of the table below, and its last token. Axes: G n-grams of an
order, T tokens.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

UNSEEN = -1


class Order(NamedTuple):
    """What is known of n-grams of one order, and of their first n - 1 tokens as a context."""

    keys: np.ndarray  # (G,) int64, sorted: number of the first n - 1 tokens × vocabulary + last token
    kept: np.ndarray  # (G,) float64: count less discount, over the count of the context
    rest: np.ndarray  # (contexts,) float64: what is left to the order below; 1 where the context ends nothing


class NgramModel(NamedTuple):
    orders: tuple[Order, ...]  # of 1 token, of 2, …
    n_tokens: int  # V, ids of the vocabulary
    floor: np.ndarray  # (first tokens, V) float64: below the unigram, as even as what may follow allows
    first_tokens: np.ndarray  # (V,) int64: row of ``floor`` of utterances that begin so


def fit_kneser_ney(
    sequences: Sequence[np.ndarray], order: int, allowed: np.ndarray, starts: Sequence[int]
) -> NgramModel:
    """From sequences (T,) that begin with a token that is never predicted.

    allowed: (languages, V) bool, what may follow in each language; starts: the token that its utterances begin with.
    """
    n_tokens = allowed.shape[1]
    tables = _count(sequences, order, n_tokens)
    orders = tuple(_discount(keys, counts, n_contexts, n_tokens) for keys, counts, n_contexts in tables)
    rows = np.zeros(n_tokens, np.int64)
    rows[list(starts)] = np.arange(len(starts))
    return NgramModel(orders, n_tokens, allowed / allowed.sum(1, keepdims=True), rows)


def _count(sequences: Sequence[np.ndarray], order: int, n_tokens: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Of each order: keys (G,), adjusted counts (G,), and the number of n-grams of the order below (1 for none)."""
    flat = np.concatenate(sequences)
    places = np.concatenate([np.arange(len(sequence)) for sequence in sequences])
    numbers = np.zeros(len(flat), np.int64)  # of the n - 1 tokens that end before each place
    found, left = [], [None] * (order + 1)
    n_below = 1
    for n in range(1, order + 1):
        # The first token is never predicted, so a context begins with it at the earliest.
        valid = places >= max(n - 1, 1) if n > 1 else places >= 0
        keys = np.where(valid, numbers * n_tokens + flat, UNSEEN)
        unique, inverse = np.unique(keys[valid], return_inverse=True)
        found.append((unique, np.bincount(inverse, minlength=len(unique)), n_below))
        left[n] = (np.flatnonzero(valid), inverse)
        known = np.full(len(flat), UNSEEN)
        known[valid] = inverse
        # The context of the place behind: n tokens that end here.
        numbers = np.concatenate([[UNSEEN], known[:-1]])
        n_below = len(unique)
    return [_adjust(found, left, places, n) for n in range(1, order + 1)]


def _adjust(found: list, left: list, places: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Counts of order ``n``: of the highest as they are, of others different tokens on the left."""
    keys, counts, n_below = found[n - 1]
    where, inverse = left[n]
    counts = counts.astype(np.float64)
    if n < len(found):
        longer, number_longer = left[n + 1]
        number_here = np.full(len(places), UNSEEN)
        number_here[where] = inverse
        # One place of each longer n-gram says which shorter one it ends with.
        _, one = np.unique(number_longer, return_index=True)
        different = np.bincount(number_here[longer[one]], minlength=len(keys))
        begins = np.bincount(inverse, weights=places[where] == n - 1, minlength=len(keys))
        counts = np.where(different > 0, different, begins).astype(np.float64)
    if n == 1:
        # The token that begins an utterance is a context and nothing that follows.
        counts[np.bincount(inverse, weights=places[where] > 0, minlength=len(keys)) == 0] = 0
    return keys, counts, n_below


def _discount(keys: np.ndarray, counts: np.ndarray, n_contexts: int, n_tokens: int) -> Order:
    discounts = np.concatenate([[0.0], estimate_discounts(counts)])
    less = discounts[np.minimum(counts, 3).astype(np.int64)]
    contexts = keys // n_tokens
    totals = np.bincount(contexts, weights=counts, minlength=n_contexts)
    taken = np.bincount(contexts, weights=less, minlength=n_contexts)
    safe = np.maximum(totals, 1e-300)
    rest = np.where(totals > 0, taken / safe, 1.0)
    return Order(keys, (counts - less) / safe[contexts], rest)


def estimate_discounts(counts: np.ndarray) -> np.ndarray:
    """(3,) discounts of counts of 1, 2, and 3 or more, out of how many counts are 1 to 4 (Chen and Goodman)."""
    n = np.bincount(np.minimum(counts, 5).astype(np.int64), minlength=6)[1:5].astype(np.float64)
    share = n[0] / max(1.0, n[0] + 2 * n[1])
    found = [k - (k + 1) * share * n[k] / n[k - 1] if n[k - 1] else 0.5 * k for k in (1, 2, 3)]
    return np.clip(found, 0.0, [1.0, 2.0, 3.0])


def ngram_nats(model: NgramModel, sequences: Sequence[np.ndarray], order: int | None = None) -> Iterator[np.ndarray]:
    """(T - 1,) float64 nats of each token of each sequence (T,) but its first; by the first orders only, if given."""
    for sequence in sequences:
        yield -np.log(token_probabilities(model, sequence, order))


def token_probabilities(model: NgramModel, sequence: np.ndarray, order: int | None = None) -> np.ndarray:
    """(T - 1,) the probability of each token of (T,) but the first, behind those before it."""
    following = sequence[1:]
    probability = model.floor[model.first_tokens[sequence[0]], following]
    for n, table in enumerate(model.orders[:order], 1):
        # contexts: number of the n - 1 tokens before each place, by the tables of the orders below
        contexts = _context_numbers(model, sequence, n - 1)
        keys = np.where(contexts >= 0, contexts * model.n_tokens + following, UNSEEN)
        found = look_up(table.keys, keys)
        kept = np.where(found >= 0, table.kept[np.maximum(found, 0)], 0.0)
        rest = np.where(contexts >= 0, table.rest[np.maximum(contexts, 0)], 1.0)
        probability = kept + rest * probability
    return probability


def _context_numbers(model: NgramModel, sequence: np.ndarray, length: int) -> np.ndarray:
    """(T - 1,) number of the ``length`` tokens before each token but the first; UNSEEN where they never came."""
    n_places = len(sequence) - 1
    numbers = np.zeros(n_places, np.int64)
    for n in range(1, length + 1):
        back = length - n  # tokens between this one and the one before the place
        tokens = np.concatenate([np.full(back, UNSEEN), sequence[: n_places - back]])[:n_places]
        keys = np.where((numbers >= 0) & (tokens >= 0), numbers * model.n_tokens + tokens, UNSEEN)
        numbers = look_up(model.orders[n - 1].keys, keys)
    return numbers


def look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places of (T,) ``wanted`` in the sorted (G,) ``keys``; UNSEEN where they are not there."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, UNSEEN)
