"""How likely a text is to begin an utterance, by its CTC posteriors: joint decoding with a language model.

Prefix scores of hybrid CTC/attention decoding (Watanabe et al. 2017, algorithm 2), over characters, for many texts at
a time. Axes: N texts, P positions, V characters with the blank (row 0).
"""

from typing import NamedTuple

import numpy as np

from models.ctc import BLANK

IMPOSSIBLE = -1e30
SURE_BLANK = np.log(0.99)
WINDOW_NATS = 30.0  # by which standing at a position may be less likely than at the likeliest
WINDOW_POSITIONS = 64  # behind them: 2.5 s at 25 Hz, sure blanks left out; room for the letters of one token


class PrefixState(NamedTuple):
    """N texts that an utterance may begin with."""

    ending: np.ndarray  # (N, P) nats of the paths that stand in the last character
    resting: np.ndarray  # (N, P) nats of the paths in a blank after it
    last: np.ndarray  # (N,) row of the last character; the blank's for the empty text
    score: np.ndarray  # (N,) nats of all utterances that begin with the text


def drop_sure_blanks(log_probs: np.ndarray) -> np.ndarray:
    """(P, V) with one position a run of sure blanks: they part repeated letters and are the cost of everything else."""
    sure = log_probs[:, BLANK] > SURE_BLANK
    return log_probs[~sure | ~np.concatenate([[False], sure[:-1]])]


def expected_nats(log_probs: np.ndarray) -> np.ndarray:
    """(P, V) -> (P,) nats that a text will have cost on average where it has come past each position: entropies."""
    log_probs = np.maximum(log_probs.astype(np.float64), IMPOSSIBLE)  # 0 times infinity is no number
    return -np.cumsum((np.exp(log_probs) * log_probs).sum(axis=1))


def start_prefix(log_probs: np.ndarray) -> PrefixState:
    """The state of the empty text alone."""
    silence = np.cumsum(log_probs[:, BLANK].astype(np.float64))
    return PrefixState(np.full((1, len(silence)), IMPOSSIBLE), silence[None], np.array([BLANK]), np.zeros(1))


def pick_prefixes(state: PrefixState, rows: np.ndarray) -> PrefixState:
    """The texts of these ``rows``, which may repeat."""
    return PrefixState(*(values[rows] for values in state))


def find_window(state: PrefixState) -> slice:
    """The positions at which something may be said next: near those where the texts may have ended.

    What is left out is less likely than WINDOW_NATS, so that scores are those of all positions to within rounding. A
    walk then costs the same whatever the length of the utterance. A text that is longer than its positions ends
    nowhere, and nothing is left out.
    """
    standing = np.logaddexp(state.ending, state.resting)
    near = np.flatnonzero((standing >= standing.max(axis=1, keepdims=True) - WINDOW_NATS).any(axis=0))
    first = 0 if (state.last == BLANK).any() else int(near[0])  # the empty text has ended before the first position
    return slice(first, int(near[-1]) + 1 + WINDOW_POSITIONS)


def crop_prefixes(state: PrefixState, window: slice) -> PrefixState:
    """The state at the positions of ``window`` alone; extend it with the same rows of the posteriors."""
    return state._replace(ending=state.ending[:, window], resting=state.resting[:, window])


def _arriving(state: PrefixState, repeats: np.ndarray) -> np.ndarray:
    """(N, P) nats of the paths that may step into a next character; ``repeats`` (N,): it is the last one again."""
    arriving = np.empty_like(state.resting)
    # Before the first position only the empty text has been said.
    arriving[:, 0] = np.where(state.last == BLANK, 0.0, IMPOSSIBLE)
    resting, others = state.resting[:, :-1], ~repeats
    arriving[:, 1:] = resting
    arriving[others, 1:] = np.logaddexp(resting[others], state.ending[others, :-1])
    return arriving


def next_scores(state: PrefixState, log_probs: np.ndarray, worth: np.ndarray | float = 0.0) -> np.ndarray:
    """(N, V) nats of all utterances that begin with each text and one more character; the blank's row means nothing.

    worth: (P,) nats that are added to paths which have come to a position.
    """
    probabilities = np.exp(log_probs.astype(np.float64))
    left, peak = _relative(_arriving(state, np.zeros(len(state.last), bool)) + worth)
    scores = np.log(np.maximum(left @ probabilities, 1e-300)) + peak
    left, peak = _relative(_arriving(state, np.ones(len(state.last), bool)) + worth)
    repeated = (left * probabilities[:, state.last].T).sum(axis=1)
    scores[np.arange(len(scores)), state.last] = np.log(np.maximum(repeated, 1e-300)) + peak[:, 0]
    return scores


def _relative(log_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, P) nats -> their exponentials over those of the largest, and (N, 1) the largest."""
    peak = log_values.max(axis=1, keepdims=True)
    return np.exp(log_values - peak), peak


def extend_prefixes(
    state: PrefixState, log_probs: np.ndarray, labels: np.ndarray, worth: np.ndarray | float = 0.0
) -> PrefixState:
    """Each text with one more character, ``labels`` (N,); worth: of ``next_scores``, in the score alone."""
    arriving = _arriving(state, labels == state.last)
    steps = log_probs.astype(np.float64)[:, labels].T
    own, silence = np.cumsum(steps, axis=1), np.cumsum(log_probs[:, BLANK].astype(np.float64))
    # e[t] = log(exp e[t-1] + exp arriving[t]) + own step: a running sum once the steps are divided out.
    ending = own + np.logaddexp.accumulate(arriving - (own - steps), axis=1)
    left = np.full_like(ending, IMPOSSIBLE)
    left[:, 1:] = ending[:, :-1] - silence[:-1]
    resting = silence + np.logaddexp.accumulate(left, axis=1)
    score = np.logaddexp.reduce(arriving + steps + worth, axis=1)
    return PrefixState(ending, resting, np.asarray(labels), score)


def end_scores(state: PrefixState) -> np.ndarray:
    """(N,) nats of exactly each text."""
    return np.logaddexp(state.ending[:, -1], state.resting[:, -1])
