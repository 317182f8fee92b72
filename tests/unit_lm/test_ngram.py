"""Kneser-Ney: probabilities sum to one, and are those of the formula, written down plainly."""

from collections import Counter, defaultdict

import numpy as np

import pytest

from unit_lm.ngram import estimate_discounts, fit_kneser_ney, ngram_nats, token_probabilities

END, N_TOKENS, STARTS = 1, 8, (2, 3)
ALLOWED = np.tile(np.arange(N_TOKENS) >= 4, (2, 1)) | (np.arange(N_TOKENS) == END)


def draw(n: int, seed: int) -> list[np.ndarray]:
    """Sequences in which a token mostly follows another, so that there are counts of 1, 2, 3 and more."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        tokens = [int(rng.integers(4, N_TOKENS))]
        while len(tokens) < 7:
            tokens.append(4 + (tokens[-1] - 3) % 4 if rng.random() < 0.7 else int(rng.integers(4, N_TOKENS)))
        found.append(np.array([STARTS[rng.integers(2)], *tokens, END]))
    return found


def plain_probability(sequences: list[np.ndarray], order: int, context: tuple, token: int) -> float:
    """The formula of Chen and Goodman, by counting everything again."""
    raw = Counter(
        tuple(sequence[place - n + 1 : place + 1].tolist())
        for sequence in sequences
        for n in range(1, order + 1)
        for place in range(max(n - 1, 1), len(sequence))
    )
    left = defaultdict(set)
    for gram in raw:
        left[gram[1:]].add(gram[0])
    starts = {(start,) for start in STARTS}

    def count(gram: tuple) -> int:
        return raw[gram] if len(gram) == order or gram[:1] in starts else len(left[gram])

    probability = 1 / (N_TOKENS - 3)
    for n in range(1, order + 1):
        history = context[len(context) - n + 1 :] if n > 1 else ()
        if len(history) < n - 1:
            break
        grams = [gram for gram in raw if len(gram) == n]
        discounts = [0, *estimate_discounts(np.array([count(gram) for gram in grams]))]
        follow = {gram[-1]: count(gram) for gram in grams if gram[:-1] == history}
        total = sum(follow.values())
        if total:
            rest = sum(discounts[min(value, 3)] for value in follow.values()) / total
            value = follow.get(token, 0)
            probability = (value - discounts[min(value, 3)]) / total + rest * probability
    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_formula_and_sum_to_one(order: int) -> None:
    training, held_out = draw(12, 0), draw(2, 1)
    model = fit_kneser_ney(training, order, ALLOWED, STARTS)
    for sequence in held_out:
        found = token_probabilities(model, sequence)
        expected = [
            plain_probability(training, order, tuple(sequence[:place].tolist()), int(sequence[place]))
            for place in range(1, len(sequence))
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        for place in range(1, len(sequence)):
            every = [np.append(sequence[:place], token) for token in np.flatnonzero(ALLOWED[0])]
            assert sum(token_probabilities(model, one)[-1] for one in every) == pytest.approx(1)
        assert next(ngram_nats(model, [sequence])) == pytest.approx(-np.log(found))


def test_longer_contexts_foresee_more() -> None:
    training, held_out = draw(200, 0), draw(50, 1)
    nats = [sum(map(np.sum, ngram_nats(fit_kneser_ney(training, n, ALLOWED, STARTS), held_out))) for n in (1, 2)]
    assert nats[1] < 0.9 * nats[0]


def test_discounts_of_a_corpus_too_small_for_them_stay_between_nothing_and_the_count() -> None:
    for counts in ([1], [2, 2], [1, 1, 2, 3, 4], [5, 6]):
        found = estimate_discounts(np.array(counts))
        assert (found >= 0).all() and (found <= [1, 2, 3]).all()
    assert estimate_discounts(np.array([1] * 8 + [2] * 4 + [3] * 2 + [4])) == pytest.approx([0.5, 1.25, 2.0])
