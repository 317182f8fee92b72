"""How likely a text is to begin an utterance, by its CTC posteriors: joint decoding with a language model.

Prefix scores of hybrid CTC/attention decoding (Watanabe et al. 2017, algorithm 2), over characters, for tokens of any
vocabulary. Axes: P positions, V characters with the blank (row 0).
"""

from collections.abc import Callable

import numpy as np

BLANK = 0
IMPOSSIBLE = -1e30
UNKNOWN_SCORE = -10.0  # nats: a character that the head has never been taught


def start_prefix(log_probs: np.ndarray) -> dict:
    """The empty text before (P, V) float log-probabilities."""
    silence = np.cumsum(log_probs[:, BLANK].astype(np.float64))
    return {"text": "", "ending": np.full(len(silence), IMPOSSIBLE), "resting": silence, "score": 0.0, "last": BLANK}


def extend_prefix(state: dict, log_probs: np.ndarray, label: int) -> dict:
    """The text and one more character: ``ending`` (P,) nats of paths that stand in it, ``resting`` of blanks after it.

    ``score``: nats of all utterances that begin with the text.
    """
    before = state["resting"] if state["last"] == label else np.logaddexp(state["resting"], state["ending"])
    # Before the first position only the empty text has been said.
    arriving = np.concatenate([[0.0 if state["last"] == BLANK else IMPOSSIBLE], before[:-1]])
    own, silence = (np.cumsum(log_probs[:, row].astype(np.float64)) for row in (label, BLANK))
    # e[t] = log(exp e[t-1] + exp arriving[t]) + own step: a running sum once the steps are divided out.
    ending = own + np.logaddexp.accumulate(arriving - np.concatenate([[0.0], own[:-1]]))
    left = np.concatenate([[IMPOSSIBLE], ending[:-1]])
    resting = silence + np.logaddexp.accumulate(left - np.concatenate([[0.0], silence[:-1]]))
    score = np.logaddexp.reduce(arriving + log_probs[:, label])
    return {"ending": ending, "resting": resting, "score": float(score), "last": label}


def end_score(state: dict) -> float:
    """Nats of exactly this text."""
    return float(np.logaddexp(state["ending"][-1], state["resting"][-1]))


def prefix_scorer(log_probs: np.ndarray, labels: dict[str, int]) -> Callable[[str, bool], float]:
    """(text so far, whether it ends here) -> nats, by (P, V) ``log_probs``; what was scored before is not scored again.

    labels: row of V a character.
    """
    known: dict[str, tuple[dict, float]] = {"": (start_prefix(log_probs), 0.0)}

    def find(text: str) -> tuple[dict, float]:
        missing = len(text)
        while text[:missing] not in known:
            missing -= 1
        state, penalty = known[text[:missing]]
        for place in range(missing, len(text)):
            label = labels.get(text[place])
            if label is None:
                penalty += UNKNOWN_SCORE
            else:
                state = extend_prefix(state, log_probs, label)
            known[text[: place + 1]] = (state, penalty)
        return state, penalty

    def score(text: str, ends: bool) -> float:
        state, penalty = find(text)
        return penalty + (end_score(state) if ends else state["score"])

    return score
