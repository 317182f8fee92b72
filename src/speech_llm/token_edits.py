"""Texts that are a token away from one: what the LLM and the CTC head would rather have at each of its places.

A beam has dropped a word for what came before it; here everything else of the text stays as it is. The LLM reads the
text once. So it says of all places what it would like there, and the head says what it hears behind what stands before.

Axes: T tokens of a text, V tokens of the LLM.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from speech_llm.joint_decoding import FAVOURITES, CtcScorer, score_answer, score_next_tokens, silent_score
from speech_llm.spellings import hear_text, write_tokens

CHOICES = 6  # tokens that are tried at a place: the likeliest by both, what follows left aside
MARGIN = 6.0  # nats by which such a token may be worse than the best
MOST_REPLACED = 2  # tokens that one takes the place of, or that are left out


class Edit(NamedTuple):
    """Tokens start to end of a text give way to ``others``."""

    start: int
    end: int
    others: tuple[int, ...]
    nats: float  # that the LLM gains where the edit stands; the places behind it are not read again


def edited_tokens(
    tokens: Sequence[int], log_probs: torch.Tensor, scorer: CtcScorer, *, weight: float, bonus: float, most: int
) -> list[list[int]]:
    """The ``most`` promising texts a token away from ``tokens``, best first by a guess of their whole scores.

    log_probs: (T + 1, V) nats of each token and of the end, by the LLM behind the tokens before.
    """
    so_far = log_probs[torch.arange(len(tokens)), torch.tensor(tokens, dtype=torch.long)].tolist()
    guessed: dict[tuple[int, ...], float] = {}
    for place in range(len(tokens) + 1):
        choices = _choose_tokens(tokens[:place], log_probs[place], scorer, weight=weight, bonus=bonus)
        for start, end, others, nats in _edits_at(place, so_far, choices):
            edited = (*tokens[:start], *others, *tokens[end:])
            heard, count = score_answer(scorer, edited)
            score = (1 - weight) * (sum(so_far) + nats) + weight * heard + bonus * count
            guessed[edited] = max(score, guessed.get(edited, score))
    guessed.pop(tuple(tokens), None)
    return [list(edited) for edited in sorted(guessed, key=lambda edited: -guessed[edited])[:most]]


def _choose_tokens(
    before: Sequence[int], log_probs: torch.Tensor, scorer: CtcScorer, *, weight: float, bonus: float
) -> list[tuple[int, float]]:
    """(token, nats by the LLM) of the likeliest next ones by both."""
    tree, written = scorer.tree, write_tokens(scorer.tree, before)
    favourites = log_probs.topk(min(FAVOURITES, len(log_probs))).indices.tolist()
    found, heard = score_next_tokens(scorer, written, favourites), hear_text(tree, written)
    added = torch.full_like(log_probs, -torch.inf)
    if not heard.begun:
        added[: len(tree.silent)][tree.silent] = weight * silent_score(heard)
    added[found.tokens] = weight * found.gains + bonus * found.n_characters
    worth, tokens = ((1 - weight) * log_probs + added).topk(min(CHOICES, len(log_probs)))
    chosen = tokens[worth > worth[0] - MARGIN].tolist()
    return [(token, float(log_probs[token])) for token in chosen if tree.spelled[token]]


def _edits_at(place: int, so_far: Sequence[float], choices: Sequence[tuple[int, float]]) -> Iterator[Edit]:
    """One more token at the place, one instead of some, and some less; so_far: (T,) nats of the text's own tokens."""
    for n_replaced in range(min(MOST_REPLACED, len(so_far) - place) + 1):
        end, lost = place + n_replaced, sum(so_far[place : place + n_replaced])
        yield from (Edit(place, end, (token,), nats - lost) for token, nats in choices)
        if n_replaced:
            yield Edit(place, end, (), -lost)
