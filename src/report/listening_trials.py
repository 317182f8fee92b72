"""What a listening test asks: its trials, whose clips bear names that tell nothing, and the key to them.

Kinds: Recommendation ITU-T P.800 (1996), annex B, for the five grades of "mos"; ABX as W. Munson and M. Gardner
(1950), "Standardizing auditory tests"; original recordings are hidden among the graded clips, as in ITU-R BS.1534.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.records import ListeningChoice, ListeningClip, ListeningKey, ListeningTrial, UtteranceScore
from core.tables import read_table
from evaluation.listening import ORIGINAL
from evaluation.listening_files import FORMAT_VERSION, KEY_FORMAT

KINDS = ("words", "preference", "abx", "mos")  # as they are asked: whoever has heard a sentence knows its words
SHORTEST_SECONDS = 1.0  # shorter clips tell little of a voice
N_WRONG = 3  # wrong choices beside the right one, where they are made of the texts
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".gif")
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
Clip = Callable[[str, str], str]  # (system, utterance) -> the name of a new clip
WRONG_COLUMNS = ("wrong_2", "wrong_3", "wrong_4", "wrong_5")


class Question(NamedTuple):
    """What may be answered to "what did you hear?" for one utterance: texts, or files of pictures or sounds."""

    right: str
    wrong: list[str]


def choose_utterances(seconds: Mapping[str, float], n: int, longest: float, random: np.random.Generator) -> list[str]:
    """``n`` of the utterances that last from SHORTEST_SECONDS to ``longest`` seconds, drawn at random, in order."""
    fitting = sorted(name for name, length in seconds.items() if SHORTEST_SECONDS <= length <= longest)
    if not seconds:
        raise UserError("expected test utterances that all experiments have, found none; score them on the same corpus")
    if not fitting:
        raise UserError(
            f"expected test utterances of {SHORTEST_SECONDS:g} to {longest:g} s, found {len(seconds)} of "
            f"{min(seconds.values()):.1f} to {max(seconds.values()):.1f} s; --max_seconds lets longer ones in"
        )
    return sorted(random.permutation(fitting)[:n].tolist())


def make_key(
    title: str,
    systems: Sequence[str],
    utterances: Mapping[str, float],
    kinds: Sequence[str],
    questions: Mapping[str, Question],
    *,
    asked: Sequence[str],
    with_original: bool,
    seed: int,
    test: str,
) -> ListeningKey:
    """All trials of a test and whose clips they are. ``test``: a name that no other test has.

    systems: names of experiments. utterances: id -> seconds. asked: those that are compared and graded; ``questions``
    says which are heard for their words. with_original: the recordings are compared in pairs too; graded and heard for
    their words they always are.
    """
    random = np.random.default_rng([seed, *test.encode()])  # clips of two tests bear different names
    compared = [*systems, ORIGINAL] if with_original else list(systems)
    clips: dict[str, ListeningClip] = {}
    names = _unused_names(random)

    def clip(system: str, utterance: str) -> str:
        name = next(names)
        clips[name] = {"system": system, "utterance": utterance, "seconds": round(utterances[utterance], 3)}
        return name

    makers = {
        "preference": lambda: _pairs(compared, asked, clip),
        "abx": lambda: _abx(compared, asked, clip, random),
        "mos": lambda: _graded([*systems, ORIGINAL], asked, clip),
        "words": lambda: _heard([*systems, ORIGINAL], questions, clip, random),
    }
    trials: list[ListeningTrial] = []
    for kind in kinds:
        made = makers[kind]()
        trials += [{"id": f"{kind}-{number}", "kind": kind, **trial} for number, trial in enumerate(made, start=1)]
    return {
        "format": KEY_FORMAT,
        "format_version": FORMAT_VERSION,
        "test": test,
        "title": title,
        "seed": seed,
        "systems": [*systems, ORIGINAL],
        "clips": clips,
        "trials": trials,
    }


def _unused_names(random: np.random.Generator) -> Iterator[str]:
    """Names in an order that says nothing of whose clips they are."""
    seen = set()
    while True:
        name = f"c{int(random.integers(10**6)):06d}"
        if name not in seen:
            seen.add(name)
            yield name


def _pairs(systems: Sequence[str], utterances: Sequence[str], clip: Clip) -> Iterator[dict]:
    for first, second in itertools.combinations(systems, 2):
        for utterance in utterances:
            yield {"group": f"{first} {second} {utterance}", "clips": [clip(first, utterance), clip(second, utterance)]}


def _abx(systems: Sequence[str], utterances: Sequence[str], clip: Clip, random: np.random.Generator) -> Iterator[dict]:
    """X is each of the two for half of the utterances, drawn anew for each pair of systems."""
    for pair in itertools.combinations(systems, 2):
        chosen = random.permutation(np.arange(len(utterances)) % 2)
        for utterance, which in zip(utterances, chosen.tolist()):
            shown = [clip(system, utterance) for system in pair]
            right = shown[which]
            yield {
                "group": f"{pair[0]} {pair[1]} {utterance}",
                "clips": [*shown, clip(pair[which], utterance)],
                "right": right,
            }


def _graded(systems: Sequence[str], utterances: Sequence[str], clip: Clip) -> Iterator[dict]:
    for system, utterance in itertools.product(systems, utterances):
        yield {"group": f"{system} {utterance}", "clips": [clip(system, utterance)]}


def _heard(
    systems: Sequence[str], questions: Mapping[str, Question], clip: Clip, random: np.random.Generator
) -> Iterator[dict]:
    """A sentence is known once it was heard: the systems' trials of an utterance are one group."""
    for utterance, question in questions.items():
        answers = [question.right, *question.wrong]
        for system in systems:
            order = random.permutation(len(answers)).tolist()
            choices: list[ListeningChoice] = [
                {"id": f"{place}", **_describe_choice(answers[k])} for place, k in enumerate(order, start=1)
            ]
            right = str(order.index(0) + 1)
            yield {"group": utterance, "clips": [clip(system, utterance)], "choices": choices, "right": right}


def _describe_choice(answer: str) -> dict[str, str]:
    suffix = Path(answer).suffix.lower()
    return {"picture" if suffix in PICTURES else "clip" if suffix in SOUNDS else "text": answer}


def read_questions(path: Path) -> dict[str, Question]:
    """The table of what may be answered: columns utterance, right, wrong_1 and, where wanted, wrong_2 to wrong_5.

    A cell is a text, or a picture or a sound by its file name, which is looked for beside the table.
    """
    questions: dict[str, Question] = {}
    for number, row in read_table(path, ("utterance", "right", "wrong_1"), optional=WRONG_COLUMNS):
        cells = [row[name] for name in ("right", "wrong_1", *WRONG_COLUMNS) if row[name]]
        if len(cells) < 2 or len(set(cells)) < len(cells) or not row["right"]:
            raise UserError(f"{path}, line {number}: expected a right and a wrong answer that differ, found {cells}")
        if row["utterance"] in questions:
            raise UserError(f"{path}, line {number}: expected each utterance once, found {row['utterance']} again")
        cells = [str(_find_file(path, number, cell)) if _is_file_name(cell) else cell for cell in cells]
        questions[row["utterance"]] = Question(cells[0], cells[1:])
    if not questions:
        raise UserError(f"{path}: expected utterances and answers, found none; docs/listening.md shows the table")
    return questions


def _is_file_name(cell: str) -> bool:
    return Path(cell).suffix.lower() in (*PICTURES, *SOUNDS)


def _find_file(table: Path, number: int, cell: str) -> Path:
    found = table.parent / cell
    if not found.is_file():
        raise UserError(f"{table}, line {number}: expected the file {found}, found none")
    return found


def questions_from_texts(
    scored: Sequence[UtteranceScore], chosen: Sequence[str], random: np.random.Generator
) -> dict[str, Question]:
    """For each of ``chosen``, its text and those N_WRONG of other utterances that are most alike in length."""
    texts = {row["id"]: " ".join(row["text"].split()) for row in scored if row.get("text")}
    questions = {}
    for name in chosen:
        right = texts.get(name)
        others = sorted({text for text in texts.values() if text != right})
        others = [others[k] for k in random.permutation(len(others)).tolist()]
        if right and others:
            wrong = sorted(others, key=lambda text: abs(len(text) - len(right)))[:N_WRONG]
            questions[name] = Question(right, wrong)
    if not questions:
        raise UserError(
            "--kinds words: expected transcripts of the test utterances, or --words TABLE with the answers to choose "
            "from, found neither; see docs/listening.md"
        )
    return questions
