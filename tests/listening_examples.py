"""Keys of listening tests, and simulated people who answer them (scripts/bench/simulate_listeners.py)."""

import numpy as np

from simulate_listeners import Voices, attentive, make_answers

from core.records import ListeningAnswers, ListeningKey
from evaluation.listening import ORIGINAL, Judgement, read_judgements
from report.listening_trials import KINDS, Question, make_key

UTTERANCES = [f"u{number}" for number in range(8)]


def make_test(kinds: list[str] = KINDS, *, seed: int = 0) -> ListeningKey:
    questions = {name: Question(f"said in {name}", ["something", "else", "again"]) for name in UTTERANCES}
    seconds = dict.fromkeys(UTTERANCES, 2.0)
    how = {"asked": UTTERANCES, "with_original": False, "seed": seed, "test": f"test{seed}"}
    return make_key("A test", ["a", "b"], seconds, kinds, questions, **how)


def simulate(*, better: float, seed: int = 0) -> tuple[ListeningKey, list[Judgement], list[ListeningAnswers]]:
    """A test, all its judgements, and what each of ten attentive people answered."""
    random, key = np.random.default_rng(seed), make_test(seed=seed)
    voices = Voices({"a": 2.4, "b": 2.4 + better, ORIGINAL: 4.4}, {"a": 0.4, "b": 0.9, ORIGINAL: 1.0})
    sentences = {name: random.normal(0, 0.4) for name in UTTERANCES}
    people = [
        make_answers(key, f"listener {number}", attentive(key, voices, sentences, random), random)
        for number in range(10)
    ]
    return key, [row for answers in people for row in read_judgements(answers, key)], people
