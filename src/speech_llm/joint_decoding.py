"""The LLM and the CTC head write together: every next token is weighed by what the head hears of it.

A text's score is (1 - w) * log p(text | LLM) + w * log p(text | CTC) + b * characters. The LLM knows the language, the
CTC head the sounds (Watanabe et al. 2017). The bonus b pays for every character (Hannun et al. 2014): a beam compares
texts of equally many tokens, and those with fewer characters have had less to pay.

The head looks for tokens itself. It walks the tree of all spellings of the vocabulary, letter by letter, along what may
be heard next. So it also finds a word that the LLM did not think of.

Axes: P positions, V characters of the head with the blank (row 0), K tokens, V_llm tokens of the LLM.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.text_normalisation import normalise_text
from models.ctc_prefix import (
    PrefixState,
    drop_sure_blanks,
    end_scores,
    extend_prefixes,
    next_scores,
    pick_prefixes,
    start_prefix,
)
from models.speech_llm_model import SpeechLLMBase

SILENT_SCORE = -1.0  # nats by CTC of a token that adds nothing to be heard: else a beam of punctuation costs nothing
UNKNOWN_SCORE = -10.0  # nats: a character that the head has never been taught
BRANCHES, MARGIN = 16, 8.0  # spellings of a length that are followed, and nats by which they may be worse than the best
ANCHOR = "a"  # a letter on both sides shows what a token adds inside a text


class TokenTree(NamedTuple):
    """What every token adds to a normalised text, as a tree over the head's characters; node 0 is the root."""

    children: list[dict[int, int]]  # of each node: row of V -> node
    tokens: list[list[int]]  # of each node: the tokens that end in it
    labels: dict[str, int]  # character -> row of V
    silent: torch.Tensor  # (V_llm,) bool: tokens that add nothing to be heard
    n_characters: torch.Tensor  # (V_llm,) float32 that each token adds


class TokenGains(NamedTuple):
    """What may be heard after a text."""

    tokens: torch.Tensor  # (K,) int64
    gains: torch.Tensor  # (K,) float32 nats that the head gives them beyond the text
    end: float  # nats of ending here


class CtcScorer(NamedTuple):
    """One utterance by its posteriors, with memories that grow as texts are asked for."""

    tree: TokenTree
    log_probs: np.ndarray  # (P, V) nats
    prefixes: dict[str, tuple[PrefixState, float]]  # normalised text -> its state (N = 1), nats of unknown characters
    gains: dict[tuple[str, bool], TokenGains]  # of (normalised text, whether it is parted from what follows)


def build_token_tree(model: SpeechLLMBase) -> TokenTree:
    """The tree of all tokens that the head's characters can spell; the others are left out."""
    labels = {character: row for row, character in enumerate(model.characters, 1)}
    tokenizer = model.tokenizer
    children, tokens = [{}], [[]]
    forms = [normalise_text(ANCHOR + text + ANCHOR)[1:-1].rstrip() for text in _spell_tokens(tokenizer)]
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    special |= {*tokenizer.all_special_ids, *model.stop_ids}
    for token, form in enumerate(forms):
        if form and token not in special and all(character in labels for character in form):
            _insert(children, tokens, [labels[character] for character in form], token)
    silent = [not form and token not in special for token, form in enumerate(forms)]
    # Special tokens have names, which nobody says: the end of a turn would be paid for as a word.
    n_characters = [0.0 if token in special else float(len(form)) for token, form in enumerate(forms)]
    return TokenTree(children, tokens, labels, torch.tensor(silent), torch.tensor(n_characters))


def _spell_tokens(tokenizer) -> list[str]:
    """What each token adds behind a letter; alone, some tokenizers would lose its space."""
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)
    rows = tokenizer.batch_decode(
        [[*anchor, token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    return [row.removeprefix(ANCHOR) for row in rows]


def _insert(children: list[dict[int, int]], tokens: list[list[int]], spelling: Sequence[int], token: int) -> None:
    node = 0
    for label in spelling:
        if label not in children[node]:
            children[node][label] = len(children)
            children.append({})
            tokens.append([])
        node = children[node][label]
    tokens[node].append(token)


def open_ctc_scorer(tree: TokenTree, log_probs: np.ndarray) -> CtcScorer:
    """A scorer of one utterance by its (P, V) posteriors in nats."""
    log_probs = drop_sure_blanks(log_probs)
    return CtcScorer(tree, log_probs, prefixes={"": (start_prefix(log_probs), 0.0)}, gains={})


def read_prefix(scorer: CtcScorer, text: str) -> tuple[PrefixState, float]:
    """The state of a normalised text (N = 1), and nats for characters in it that the head does not know."""
    prefixes, labels = scorer.prefixes, scorer.tree.labels
    start = len(text)
    while text[:start] not in prefixes:
        start -= 1
    state, penalty = prefixes[text[:start]]
    for character in text[start:]:
        label = labels.get(character)
        if label is None:
            penalty += UNKNOWN_SCORE
        else:
            state = extend_prefixes(state, scorer.log_probs, np.array([label]))
    prefixes[text] = (state, penalty)
    return state, penalty


def score_text(scorer: CtcScorer, text: str) -> float:
    """Nats of exactly this normalised text by the CTC head."""
    state, penalty = read_prefix(scorer, text)
    return penalty + float(end_scores(state)[0])


def score_next_tokens(scorer: CtcScorer, text: str, parted: bool) -> TokenGains:
    """What may be heard after a normalised ``text``; ``parted``: it ends in something that is no letter."""
    if (text, parted) not in scorer.gains:
        scorer.gains[text, parted] = _walk_tree(scorer, text, parted)
    return scorer.gains[text, parted]


def _walk_tree(scorer: CtcScorer, text: str, parted: bool) -> TokenGains:
    tree, log_probs, (state, _) = scorer.tree, scorer.log_probs, read_prefix(scorer, text)
    before = float(state.score[0])
    end = float(end_scores(state)[0] - state.score[0])
    nodes, state = _enter_tree(scorer, text, parted, state)
    gains: dict[int, float] = {}
    while nodes:
        scores = next_scores(state, log_probs)
        steps = [(scores[row, label], row, label, child) for row, n in enumerate(nodes) for label, child in n.items()]
        steps = sorted(steps, key=lambda step: -step[0])[:BRANCHES]
        steps = [step for step in steps if step[0] > steps[0][0] - MARGIN]
        for score, _, _, node in steps:
            gains |= {token: score - before for token in tree.tokens[node]}
        nodes = [tree.children[node] for _, _, _, node in steps]
        rows, labels = (np.array([step[column] for step in steps], int) for column in (1, 2))
        state = extend_prefixes(pick_prefixes(state, rows), log_probs, labels)
    tokens = torch.tensor(list(gains), dtype=torch.int64)
    return TokenGains(tokens, torch.tensor(list(gains.values()), dtype=torch.float32), end)


def _enter_tree(
    scorer: CtcScorer, text: str, parted: bool, state: PrefixState
) -> tuple[list[dict[int, int]], PrefixState]:
    """The children that the walk begins with, and their state: at the start of a word with or without its space."""
    children, space = scorer.tree.children, scorer.tree.labels.get(" ")
    root = children[0]
    if text and not parted:
        return [root], state
    if text and space is not None:
        state = extend_prefixes(state, scorer.log_probs, np.array([space]))
    # The space is there already, or not needed: words that bring one are as good as those that do not.
    letters = {label: node for label, node in root.items() if label != space}
    spaced = children[root[space]] if space in root else {}
    return [letters, spaced], pick_prefixes(state, np.zeros(2, int))


def joint_processor(
    model: SpeechLLMBase, scorers: Sequence[CtcScorer], num_beams: int, weight: float, bonus: float
) -> Callable:
    """A logits processor, as transformers has them: it weighs the LLM's tokens by what the CTC head hears."""
    silent, n_characters = scorers[0].tree.silent, scorers[0].tree.n_characters

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = scores.log_softmax(-1)
        gains = torch.full_like(log_probs, -torch.inf)
        for row, said in enumerate(ids.tolist()):
            raw = model.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            # As if a letter followed: an apostrophe that only then is one must not be heard twice.
            said_so_far = normalise_text(raw + ANCHOR)[: -len(ANCHOR)]
            text = said_so_far.rstrip()
            heard = score_next_tokens(scorers[row // num_beams], text, text != said_so_far)
            if text == said_so_far and (text or not said):
                # Once between what is heard: beams are compared at as many tokens, and one that only adds dots owes
                # the letters that the others have paid for.
                gains[row, : len(silent)][silent.to(gains.device)] = SILENT_SCORE
            gains[row, heard.tokens.to(gains.device)] = heard.gains.to(gains)
            gains[row, model.stop_ids] = heard.end
        joint = (1 - weight) * log_probs + weight * gains
        joint[:, : len(silent)] += bonus * n_characters.to(joint)
        return joint

    return process
