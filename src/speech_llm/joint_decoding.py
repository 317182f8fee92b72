"""The LLM and the CTC head write together: every next token is weighed by what the head hears of it.

A text's score is (1 - w) * log p(text | LLM) + w * log p(text | CTC) + b * characters: the LLM knows the language, the
CTC head the sounds (Watanabe et al. 2017), and the bonus b pays for getting on (Hannun et al. 2014): a beam compares
texts of as many tokens, of which those that have said less have had less to pay.

The head looks for tokens itself: it walks the tree of all that the vocabulary can spell, letter by letter, along what
may be heard next, so that a word that the LLM did not think of is found all the same.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from core.text import normalise_text
from models.ctc_prefix import (
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


def build_token_tree(model: SpeechLLMBase) -> dict:
    """What every token adds to a normalised text, as a tree over the head's characters.

    Returns ``children`` (a dict row of V -> node, for each node), ``tokens`` (ids that end in the node), ``silent``
    (V_llm,) bool of tokens that add nothing to be heard, ``n_characters`` (V_llm,) float32 that each adds; node 0 is
    the root. What cannot be spelled is left out.
    """
    labels = {character: row for row, character in enumerate(model.config["characters"], 1)}
    tree = {"children": [{}], "tokens": [[]], "labels": labels}
    forms = [normalise_text(ANCHOR + text + ANCHOR)[1:-1].rstrip() for text in _spell_tokens(model)]
    special = {token for token, added in model.tokenizer.added_tokens_decoder.items() if added.special}
    special |= {*model.tokenizer.all_special_ids, *model.stop_ids}
    for token, form in enumerate(forms):
        if form and token not in special and all(character in labels for character in form):
            _insert(tree, [labels[character] for character in form], token)
    silent = [not form and token not in special for token, form in enumerate(forms)]
    # Special tokens have names, which nobody says: the end of a turn would be paid for as a word.
    n_characters = [0.0 if token in special else float(len(form)) for token, form in enumerate(forms)]
    return tree | {"silent": torch.tensor(silent), "n_characters": torch.tensor(n_characters)}


def _spell_tokens(model: SpeechLLMBase) -> list[str]:
    """What each token adds behind a letter; alone, some tokenizers would lose its space."""
    tokenizer, anchor = model.tokenizer, model.tokenizer.encode(ANCHOR, add_special_tokens=False)
    rows = tokenizer.batch_decode(
        [[*anchor, token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    return [row.removeprefix(ANCHOR) for row in rows]


def _insert(tree: dict, spelling: Sequence[int], token: int) -> None:
    node = 0
    for label in spelling:
        if label not in tree["children"][node]:
            tree["children"][node][label] = len(tree["children"])
            tree["children"].append({})
            tree["tokens"].append([])
        node = tree["children"][node][label]
    tree["tokens"][node].append(token)


def open_listener(tree: dict, log_probs: np.ndarray) -> dict:
    """One utterance by its (P, V) posteriors; ``known`` keeps the state of every normalised text that was asked for."""
    log_probs = drop_sure_blanks(log_probs)
    return {"tree": tree, "log_probs": log_probs, "known": {"": (start_prefix(log_probs), 0.0)}, "heard": {}}


def read_prefix(listener: dict, text: str) -> tuple[dict, float]:
    """The state of a normalised text (N = 1), and nats for characters in it that the head does not know."""
    known, labels = listener["known"], listener["tree"]["labels"]
    start = len(text)
    while text[:start] not in known:
        start -= 1
    state, penalty = known[text[:start]]
    for place in range(start, len(text)):
        label = labels.get(text[place])
        if label is None:
            penalty += UNKNOWN_SCORE
        else:
            state = extend_prefixes(state, listener["log_probs"], np.array([label]))
    known[text] = (state, penalty)
    return state, penalty


def text_score(listener: dict, text: str) -> float:
    """Nats of exactly this normalised text by the CTC head."""
    state, penalty = read_prefix(listener, text)
    return penalty + float(end_scores(state)[0])


def hear_tokens(listener: dict, text: str, parted: bool) -> dict:
    """What may be heard after a normalised ``text``; ``parted``: something that is no letter stands behind it already.

    Returns ``tokens`` (K,) int64, ``gains`` (K,) float32 nats that the head gives them beyond the text, and ``end``,
    the nats of ending here.
    """
    if (text, parted) not in listener["heard"]:
        listener["heard"][text, parted] = _walk(listener, text, parted)
    return listener["heard"][text, parted]


def _walk(listener: dict, text: str, parted: bool) -> dict:
    tree, log_probs, (state, _) = listener["tree"], listener["log_probs"], read_prefix(listener, text)
    before, end = float(state["score"][0]), float(end_scores(state)[0] - state["score"][0])
    nodes, state = _enter_tree(listener, text, parted, state)
    found: dict[int, float] = {}
    while nodes:
        scores = next_scores(state, log_probs)
        steps = [(scores[row, label], row, label, child) for row, n in enumerate(nodes) for label, child in n.items()]
        steps = sorted(steps, key=lambda step: -step[0])[:BRANCHES]
        steps = [step for step in steps if step[0] > steps[0][0] - MARGIN]
        for score, _, _, node in steps:
            found |= {token: score - before for token in tree["tokens"][node]}
        nodes = [tree["children"][node] for _, _, _, node in steps]
        rows, labels = (np.array([step[column] for step in steps], int) for column in (1, 2))
        state = extend_prefixes(pick_prefixes(state, rows), log_probs, labels)
    return {
        "tokens": torch.tensor(list(found), dtype=torch.int64),
        "gains": torch.tensor(list(found.values()), dtype=torch.float32),
        "end": end,
    }


def _enter_tree(listener: dict, text: str, parted: bool, state: dict) -> tuple[list[dict[int, int]], dict]:
    """The children that the walk begins with, and their state: at the start of a word with or without its space."""
    root, space = listener["tree"]["children"][0], listener["tree"]["labels"].get(" ")
    if text and not parted:
        return [root], state
    if text and space is not None:
        state = extend_prefixes(state, listener["log_probs"], np.array([space]))
    # The space is there already, or not needed: words that bring one are as good as those that do not.
    letters = {label: node for label, node in root.items() if label != space}
    spaced = listener["tree"]["children"][root[space]] if space in root else {}
    return [letters, spaced], pick_prefixes(state, np.zeros(2, int))


def joint_processor(
    model: SpeechLLMBase, listeners: Sequence[dict], num_beams: int, weight: float, bonus: float
) -> Callable:
    """A logits processor, as transformers has them, that weighs the LLM's tokens by what the utterance's head hears."""
    silent, n_characters = (listeners[0]["tree"][name] for name in ("silent", "n_characters"))

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = scores.log_softmax(-1)
        gains = torch.full_like(log_probs, -torch.inf)
        for row, said in enumerate(ids.tolist()):
            raw = model.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            # As if a letter followed: an apostrophe that only then is one must not be heard twice.
            said_so_far = normalise_text(raw + ANCHOR)[: -len(ANCHOR)]
            text = said_so_far.rstrip()
            heard = hear_tokens(listeners[row // num_beams], text, text != said_so_far)
            if text == said_so_far and (text or not said):
                # Once between what is heard: beams are compared at as many tokens, and one that only adds dots owes
                # the letters that the others have paid for.
                gains[row, : len(silent)][silent.to(gains.device)] = SILENT_SCORE
            gains[row, heard["tokens"].to(gains.device)] = heard["gains"].to(gains)
            gains[row, model.stop_ids] = heard["end"]
        joint = (1 - weight) * log_probs + weight * gains
        joint[:, : len(silent)] += bonus * n_characters.to(joint)
        return joint

    return process
