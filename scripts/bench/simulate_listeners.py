"""Listening tests with simulated listeners: do the scores find what was planted, and nothing where nothing was?

    python scripts/bench/simulate_listeners.py --n_tests 400 --n_listeners 10 --n_utterances 8

Two voices and the originals. A listener's impression of a clip is the voice's quality, plus what the sentence, the
listener and the moment add, each normal; grades are that, rounded into 1 to 5; the better impression is preferred,
and near ones make no difference. Prints how often the intervals hold the planted difference, how often they leave out 0
where both voices are the same, and how many attentive and how many careless listeners are doubted.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.records import ListeningAnswer, ListeningAnswers, ListeningKey, ListeningTrial
from evaluation.listening import ORIGINAL, describe_listeners, read_judgements, score_pairs, score_systems
from evaluation.listening_files import ANSWERS_FORMAT, FORMAT_VERSION, SAME, allowed_answers
from report.listening_trials import Question, make_key

SENTENCE, LISTENER, MOMENT = 0.4, 0.4, 0.7  # standard deviations, in grades
NEAR = 0.2  # impressions that make no difference
N_DRAWS = 200_000  # for what is true of all listeners and sentences
N_REPEATS = 4


class Voices(NamedTuple):
    """Grades that voices deserve, and the share of their words that is understood."""

    quality: dict[str, float]
    understood: dict[str, float]


def make_answers(
    key: ListeningKey, name: str, said: Callable[[ListeningTrial], ListeningAnswer], random: np.random.Generator
) -> ListeningAnswers:
    """One listener's answers to all kinds; ``said`` answers a question."""
    answers = []
    for kind in dict.fromkeys(trial["kind"] for trial in key["trials"]):
        trials = take_from_groups([trial for trial in key["trials"] if trial["kind"] == kind], random)
        answers += map(said, trials)
        if kind != "words":
            answers += [said(trial) | {"repeat": True} for trial in trials[:N_REPEATS]]
    return {
        "format": ANSWERS_FORMAT,
        "format_version": FORMAT_VERSION,
        "test": key["test"],
        "listener": name,
        "listener_id": name,
        "started": "",
        "finished": "",
        "answers": answers,
    }


def take_from_groups(trials: Sequence[ListeningTrial], random: np.random.Generator) -> list[ListeningTrial]:
    """One trial of each group, as the page takes them."""
    groups: dict[str, list[ListeningTrial]] = {}
    for trial in trials:
        groups.setdefault(trial["group"], []).append(trial)
    first = int(random.integers(len(trials)))
    return [group[(first + number) % len(group)] for number, group in enumerate(groups.values())]


def attentive(
    key: ListeningKey, voices: Voices, sentences: Mapping[str, float], random: np.random.Generator
) -> Callable[[ListeningTrial], ListeningAnswer]:
    """How somebody answers who listens; ``sentences``: what each utterance adds to a voice's quality."""
    bias = random.normal(0, LISTENER)

    def say(trial: ListeningTrial) -> ListeningAnswer:
        clips = [key["clips"][clip] for clip in trial["clips"]]
        deserved = [voices.quality[clip["system"]] + sentences[clip["utterance"]] + bias for clip in clips]
        heard = [quality + random.normal(0, MOMENT) for quality in deserved]
        apart = abs(deserved[0] - deserved[-1 if len(clips) < 3 else 1])
        knows = voices.understood[clips[0]["system"]] if trial["kind"] == "words" else min(1.0, apart)
        said = choose(trial, heard, knows, random)
        return show(trial, random) | {"answer": said, "seconds": float(random.lognormal(0.7, 0.4))}

    return say


def careless(random: np.random.Generator) -> Callable[[ListeningTrial], ListeningAnswer]:
    """How somebody answers who clicks at random."""

    def say(trial: ListeningTrial) -> ListeningAnswer:
        said = str(random.choice(allowed_answers(trial)))
        return show(trial, random) | {"answer": said, "seconds": float(random.uniform(0.1, 2.0))}

    return say


def show(trial: ListeningTrial, random: np.random.Generator) -> dict[str, object]:
    shown = trial["clips"] if random.random() < 0.5 else [*trial["clips"][1::-1], *trial["clips"][2:]]
    return {"trial": trial["id"], "shown": [*shown], "plays": [1] * len(shown), "repeat": False}


def choose(trial: ListeningTrial, heard: Sequence[float], knows: float, random: np.random.Generator) -> str:
    """What an attentive listener says who has heard this; ``knows``: how probably the right answer to abx and words."""
    if trial["kind"] == "mos":
        return str(int(np.clip(np.rint(heard[0]), 1, 5)))
    if trial["kind"] == "preference":
        return SAME if abs(heard[0] - heard[1]) < NEAR else trial["clips"][int(heard[1] > heard[0])]
    return trial["right"] if random.random() < knows else str(random.choice(allowed_answers(trial)))


def true_values(first: float, second: float, random: np.random.Generator) -> tuple[float, float]:
    """(grade of the second minus that of the first, share that prefers the first) among all listeners and sentences."""
    common = random.normal(0, SENTENCE, N_DRAWS) + random.normal(0, LISTENER, N_DRAWS)
    heard = [quality + common + random.normal(0, MOMENT, N_DRAWS) for quality in (first, second)]
    grades = [np.clip(np.rint(values), 1, 5).mean() for values in heard]
    ahead = heard[0] - heard[1]
    share = np.where(np.abs(ahead) < NEAR, 0.5, ahead > 0).mean()
    return float(grades[1] - grades[0]), float(share)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--n_tests", type=int, default=200, help="simulated tests of each kind")
    parser.add_argument("--n_listeners", type=int, default=10, help="who listen, besides one who does not")
    parser.add_argument("--n_utterances", type=int, default=8, help="of each test")
    parser.add_argument("--better", type=float, default=0.4, help="how much better the second voice is, in grades")
    parser.add_argument("--seed", type=int, default=0)
    args = parse_flags(parser, argv)
    require_positive(args, "n_tests", "n_listeners", "n_utterances")
    return args


def simulate_test(voices: Voices, args: argparse.Namespace, random: np.random.Generator) -> dict[str, object]:
    """Intervals of one test in which everybody listens; how many of them are doubted, and whether a careless one is."""
    names = [f"u{number}" for number in range(args.n_utterances)]
    questions = {name: Question("right", ["wrong", "other", "third"]) for name in names}
    kinds, seed = ["preference", "mos", "words"], int(random.integers(2**31))
    known = dict.fromkeys(names, 3.0)
    key = make_key("", ["a", "b"], known, kinds, questions, asked=names, with_original=False, seed=seed, test=str(seed))
    sentences = {name: random.normal(0, SENTENCE) for name in names}
    people = {
        number: make_answers(key, str(number), attentive(key, voices, sentences, random), random)
        for number in range(args.n_listeners)
    }
    judgements = [row for answers in people.values() for row in read_judgements(answers, key)]
    clicked = make_answers(key, "clicks", careless(random), random)
    with_one = [*judgements, *read_judgements(clicked, key)]
    doubted = {
        "attentive": sum(bool(row.warnings) for row in describe_listeners(list(people.values()), judgements)),
        "careless": bool(describe_listeners([clicked], with_one)[0].warnings),
    }
    grades = {row.system: row for row in score_systems(judgements, "mos", key["systems"])}
    (pair,) = score_pairs(judgements, "preference")
    return {"mos": grades["b"].difference, "preference": pair.share, "doubted": doubted}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    random = np.random.default_rng(args.seed)
    understood = {"a": 0.7, "b": 0.9, ORIGINAL: 1.0}
    for better in (args.better, 0.0):
        voices = Voices({"a": 2.8, "b": 2.8 + better, ORIGINAL: 4.2}, understood)
        difference, share = true_values(2.8, 2.8 + better, random)
        found = [simulate_test(voices, args, random) for _ in tqdm(range(args.n_tests), disable=None)]
        print(f"the second voice {better:+.1f} better: difference of grades {difference:+.3f}, preference {share:.3f}")
        for name, truth, null in (("mos", difference, 0.0), ("preference", share, 0.5)):
            holds = np.mean([row[name].low <= truth <= row[name].high for row in found])
            finds = np.mean([not row[name].low <= null <= row[name].high for row in found])
            width = np.mean([row[name].high - row[name].low for row in found])
            print(f"  {name}: holds the truth {holds:.3f}, finds a difference {finds:.3f}, width {width:.3f}")
        for who, n in (("attentive", args.n_listeners), ("careless", 1)):
            print(f"  {who} listeners doubted: {np.mean([row['doubted'][who] for row in found]) / n:.3f}")


if __name__ == "__main__":
    run_main(main)
