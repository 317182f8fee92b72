"""The LLM and the CTC head write together: every next token is weighed by what the head hears of it.

A text's score is (1 - w) * log p(text | LLM) + w * log p(text | CTC) + b * characters. The LLM knows the language, the
CTC head the sounds (Watanabe et al. 2017). The bonus b pays for every character (Hannun et al. 2014): a beam compares
texts of equally many tokens, and those with fewer characters have had less to pay.

Candidates come from both. The head walks the tree of all spellings of the vocabulary, letter by letter, along what may
be heard next. So it also finds a word that the LLM did not think of. What the LLM likes best is weighed whatever the
head hears. The first bytes of a letter are worth all letters that they may become.

A beam compares texts that have come to different places in the speech. So every text is given what the head's nats will
have been up to its place, by the entropies of its posteriors, times ``look_ahead``. A whole text gets those of all
positions: the order of whole texts stays as it is, and those that stall lose their advantage.

Axes: P positions, V characters of the head with the blank (row 0), K tokens, V_llm tokens of the LLM.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.ctc import BLANK
from models.ctc_prefix import (
    PrefixState,
    crop_prefixes,
    drop_sure_blanks,
    end_scores,
    expected_nats,
    extend_prefixes,
    find_window,
    next_scores,
    pick_prefixes,
    start_prefix,
)
from models.speech_llm_model import SpeechLLMBase
from speech_llm.spellings import (
    INSIDE,
    Heard,
    Spellings,
    TokenTree,
    entrances,
    hear_text,
    letters_begun,
    merged_texts,
    nodes_towards,
    spell,
    write_tokens,
)

SILENT_SCORE = -1.0  # nats by CTC of a token that adds nothing to be heard: else a beam of punctuation costs nothing
STALLING_SCORE = -5.0  # nats of another one behind it
UNKNOWN_SCORE = -10.0  # nats: a character that the head has never been taught
BRANCHES, MARGIN = 16, 8.0  # spellings of a length that are followed, and nats by which they may be worse than the best
FAVOURITES = 16  # tokens that the LLM likes best


class TokenGains(NamedTuple):
    """What may be heard after a text."""

    tokens: torch.Tensor  # (K,) int64
    gains: torch.Tensor  # (K,) float32 nats that the head gives them beyond the text
    n_characters: torch.Tensor  # (K,) float32 that they add to the text
    end: float  # nats of ending here


class CtcScorer(NamedTuple):
    """One utterance by its posteriors, with a memory that grows as texts are asked for."""

    tree: TokenTree
    log_probs: np.ndarray  # (P, V) nats
    worth: np.ndarray  # (P,) nats that a text is given which has come to a position
    prefixes: dict[str, tuple[PrefixState, float]]  # normalised text -> its state (N = 1), nats of unknown characters


def open_ctc_scorer(tree: TokenTree, log_probs: np.ndarray, look_ahead: float = 0.0) -> CtcScorer:
    """A scorer of one utterance by its (P, V) posteriors in nats."""
    log_probs = drop_sure_blanks(log_probs)
    worth = look_ahead * expected_nats(log_probs)
    return CtcScorer(tree, log_probs, worth, prefixes={"": (start_prefix(log_probs), 0.0)})


def read_prefix(scorer: CtcScorer, text: str) -> tuple[PrefixState, float]:
    """The state of a normalised text (N = 1), and nats for characters in it that the head does not know."""
    prefixes, labels = scorer.prefixes, scorer.tree.labels
    start = len(text)
    while text[:start] not in prefixes:
        start -= 1
    state, penalty = prefixes[text[:start]]
    for place, character in enumerate(text[start:], start + 1):
        label = labels.get(character)
        if label is None:
            penalty += UNKNOWN_SCORE
        else:
            state = extend_prefixes(state, scorer.log_probs, np.array([label]), scorer.worth)
        prefixes[text[:place]] = (state, penalty)
    return state, penalty


def score_text(scorer: CtcScorer, text: str) -> float:
    """Nats of exactly this normalised text by the CTC head."""
    state, penalty = read_prefix(scorer, text)
    return penalty + float(end_scores(state)[0])


def score_answer(scorer: CtcScorer, tokens: Sequence[int]) -> tuple[float, int]:
    """Nats by the CTC head of an answer's tokens, silent ones included, and the characters that are heard of it."""
    total, last, written = 0.0, Heard("", False), b""
    for token in tokens:
        written += scorer.tree.spelled[token]
        heard = hear_text(scorer.tree, written) if scorer.tree.spelled[token] else None
        if heard is None or heard.begun:
            continue
        total += silent_score(last) if heard.text == last.text else 0.0
        last = heard
    return total + score_text(scorer, last.text), len(last.text)


def silent_score(heard: Heard) -> float:
    """Nats of a next token that adds nothing to be heard.

    A second one is dear: beams are compared at as many tokens, and one that only adds dots owes the letters that the
    others have paid for.
    """
    return STALLING_SCORE if heard.parted else SILENT_SCORE


def score_beginning(scorer: CtcScorer, heard: Heard) -> float:
    """Nats of all utterances that begin so, with any of the letters that the bytes at its end may become."""
    state, penalty = read_prefix(scorer, heard.text)
    if not heard.begun:
        return penalty + float(state.score[0])
    entered, missing = _enter_word(scorer, heard, state)
    scores = next_scores(entered, scorer.log_probs, scorer.worth)[0]
    found = [penalty + missing + _score_begun(scorer, heard.begun, scores, entered, 0)]
    for text in merged_texts(scorer.tree, heard):
        state, penalty = read_prefix(scorer, text)
        found.append(penalty + float(state.score[0]))
    return float(np.logaddexp.reduce(found))


def _score_begun(scorer: CtcScorer, begun: bytes, scores: np.ndarray, state: PrefixState, row: int) -> float:
    """Nats of what the bytes may become, behind a ``row`` of the state; (V,) scores of every next character."""
    letters = letters_begun(scorer.tree, begun)
    starts = state.last[row] in (BLANK, scorer.tree.labels.get(" "))
    so_far = float(state.score[row])
    others = [so_far + UNKNOWN_SCORE] + ([so_far + SILENT_SCORE] if letters.silent else [])
    return float(np.logaddexp.reduce([*others, *scores[letters.starting if starts else letters.labels]]))


def _enter_word(scorer: CtcScorer, heard: Heard, state: PrefixState) -> tuple[PrefixState, float]:
    """The state behind the space that a parted text has before its next letter; nats where the head knows no space."""
    if not (heard.parted and heard.text):
        return state, 0.0
    space = scorer.tree.labels.get(" ")
    if space is None:
        return state, UNKNOWN_SCORE
    return extend_prefixes(state, scorer.log_probs, np.array([space]), scorer.worth), 0.0


def score_next_tokens(scorer: CtcScorer, written: bytes, favourites: Sequence[int] = ()) -> TokenGains:
    """What may be heard after what has been ``written``, and ``favourites`` whatever is heard.

    Tokens that add nothing to be heard are told by ``TokenTree.silent``, but behind the first bytes of a letter.
    """
    tree, heard = scorer.tree, hear_text(scorer.tree, written)
    spellings, before = spell(tree, heard.begun), score_beginning(scorer, heard)
    gains = _walk_tree(scorer, spellings, heard, nodes_towards(spellings, favourites))
    if heard.text and not heard.parted:  # a mark that is begun may become one letter with the last
        begun = [(token, heard._replace(begun=rest)) for token, rest in spellings.begun[INSIDE]]
        gains |= {token: (score_beginning(scorer, own), 0) for token, own in begun if merged_texts(tree, own)}
    if heard.begun:
        silence = score_beginning(scorer, heard._replace(begun=b"")) + silent_score(heard)
        gains |= dict.fromkeys(spellings.silent, (silence, 0))
    for token in {*favourites} - {*gains, *spellings.silent}:
        added = hear_text(tree, written + tree.spelled[token]) if tree.spelled[token] else None
        if added is not None:
            silence = silent_score(heard) if added.text == heard.text and not added.begun else 0.0
            gains[token] = score_beginning(scorer, added) + silence, len(added.text) - len(heard.text)
    scores, counts = zip(*gains.values()) if gains else ((), ())
    end = -np.inf if heard.begun else score_text(scorer, heard.text) + float(scorer.worth[-1]) - before
    return TokenGains(
        torch.tensor(list(gains), dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float64).sub(before).float(),
        torch.tensor(counts, dtype=torch.float32),
        end,
    )


class Branches(NamedTuple):
    """Places in the tree that a walk has reached, one for each row of a state."""

    children: list[dict[int, int]]  # row of V -> node
    nodes: list[list[int]]  # whose tokens end here
    n_added: list[int]  # characters to get here


def _walk_tree(scorer: CtcScorer, spellings: Spellings, heard: Heard, follow: set[int]) -> dict[int, tuple[float, int]]:
    """{token: nats of the text with it, characters that it adds}: along what may be heard, and to nodes ``follow``."""
    space = scorer.tree.labels.get(" ")
    state, penalty = read_prefix(scorer, heard.text)
    state, missing = _enter_word(scorer, heard, state)
    window = find_window(state)
    state, log_probs, worth = crop_prefixes(state, window), scorer.log_probs[window], scorer.worth[window]
    children, nodes = zip(*entrances(scorer.tree, spellings, heard))
    branches = Branches(list(children), list(nodes), [int(heard.parted and bool(heard.text))] * len(nodes))
    state = pick_prefixes(state, np.zeros(len(nodes), int))
    gains: dict[int, tuple[float, int]] = {}
    while branches.nodes:
        scores = next_scores(state, log_probs, worth)
        for row, nodes in enumerate(branches.nodes):
            for token, begun in (pair for node in nodes for pair in spellings.begun[node]):
                nats = _score_begun(scorer, begun, scores[row], state, row)
                gains[token] = penalty + missing + nats, branches.n_added[row] - int(state.last[row] == space)
        steps = _choose_steps(scores, branches.children, follow)
        n_added = [branches.n_added[row] + 1 for _, row, _, _ in steps]
        for (score, _, _, node), added in zip(steps, n_added):
            gains |= {token: (penalty + missing + score, added) for token in spellings.tokens[node]}
        branches = Branches([spellings.children[step[3]] for step in steps], [[step[3]] for step in steps], n_added)
        rows, labels = (np.array([step[column] for step in steps], int) for column in (1, 2))
        state = extend_prefixes(pick_prefixes(state, rows), log_probs, labels, worth)
    return gains


def _choose_steps(
    scores: np.ndarray, children: list[dict[int, int]], follow: set[int]
) -> list[tuple[float, int, int, int]]:
    """(nats, row, label, node) of the likeliest next characters, and of those that lead to ``follow``."""
    steps = [(scores[row, label], row, label, node) for row, own in enumerate(children) for label, node in own.items()]
    steps.sort(key=lambda step: -step[0])
    return [
        step
        for place, step in enumerate(steps)
        if step[3] in follow or (place < BRANCHES and step[0] > steps[0][0] - MARGIN)
    ]


def joint_processor(
    model: SpeechLLMBase, scorers: Sequence[CtcScorer], num_beams: int, weight: float, bonus: float
) -> Callable:
    """A logits processor, as transformers has them: it weighs the LLM's tokens by what the CTC head hears."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = scores.log_softmax(-1)
        favourites = log_probs.topk(min(FAVOURITES, log_probs.shape[1])).indices.tolist()
        added = torch.full_like(log_probs, -torch.inf)
        for row, said in enumerate(ids.tolist()):
            scorer = scorers[row // num_beams]
            tree, written = scorer.tree, write_tokens(scorer.tree, said)
            found, heard = score_next_tokens(scorer, written, favourites[row]), hear_text(tree, written)
            if not heard.begun:
                added[row, : len(tree.silent)][tree.silent.to(added.device)] = weight * silent_score(heard)
            gained = weight * found.gains + bonus * found.n_characters
            added[row, found.tokens.to(added.device)] = gained.to(added)
            added[row, model.stop_ids] = weight * found.end
        return (1 - weight) * log_probs + added

    return process
