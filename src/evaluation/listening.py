"""What a listening test says: preferences, grades and words with intervals, agreement, and who clicked at random.

Agreement: K. Krippendorff (2011), "Computing Krippendorff's alpha-reliability": 1 agrees, 0 is chance.
Axes: J judgements.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scipy.stats import binomtest

from core.records import ListeningAnswers, ListeningKey
from evaluation.bootstrap import Interval
from evaluation.listening_files import SAME, name_answer
from evaluation.two_way_interval import GRADE, SHARE, two_way_interval

ORIGINAL = "original"  # the recordings themselves, as a system
DIFFERENCES = {SHARE: (-1.0, 1.0), GRADE: (-4.0, 4.0)}
MIN_REPEATS, MIN_ANSWERS, MIN_ORIGINALS, MIN_OTHERS = 6, 8, 4, 2  # below these, nobody is suspected
MIN_GRADES = 12
HASTY_SECONDS = 0.4
SIDE_P = 0.001
LOW_CORRELATION = 0.25  # of grades with the mean of the others'; .7 is usual, 0 is chance


class Judgement(NamedTuple):
    """One answer, its clips named by the key."""

    listener: str
    kind: str
    trial: str
    utterance: str
    systems: list[str]  # of the key's clips: one, or two that were compared
    said: str  # preference: a system or "same"; mos: a grade; abx, words: "right" or "wrong"
    answer: str  # as it was given
    side: int | None  # place of the chosen clip, 0 on the left; None where no clip is chosen
    n_choices: int
    seconds: float
    repeat: bool


class ListenerRow(NamedTuple):
    """What is known of one listener, and what makes the answers doubtful."""

    listener: str
    n_answers: int
    finished: bool
    median_seconds: float
    repeats_agree: tuple[int, int]  # of so many
    with_others: float | None  # correlation of the grades with the mean of the other listeners'
    warnings: list[str]


class PairResult(NamedTuple):
    """How often the first of two systems was preferred, ties counted half; or how often X was told, for abx."""

    first: str
    second: str
    share: Interval
    ties: float


class SystemResult(NamedTuple):
    """Mean grade of a system, or the share of words that were heard; and that minus the first system's, paired."""

    system: str
    mean: Interval
    difference: Interval | None


def read_judgements(answers: ListeningAnswers, key: ListeningKey) -> list[Judgement]:
    """The answers of one listener, as listening_files.read_answers has checked them, named by the key."""
    trials = {trial["id"]: trial for trial in key["trials"]}
    found = []
    for row in answers["answers"]:
        trial = trials[row["trial"]]
        compared = trial["clips"][:2] if trial["kind"] in ("preference", "abx") else trial["clips"][:1]
        found.append(
            Judgement(
                listener=answers["listener_id"],
                kind=trial["kind"],
                trial=trial["id"],
                utterance=key["clips"][trial["clips"][0]]["utterance"],
                systems=[key["clips"][clip]["system"] for clip in compared],
                said=name_answer(row, trial, key),
                answer=row["answer"],
                side=row["shown"].index(row["answer"]) if row["answer"] in row["shown"] else None,
                n_choices=len(trial.get("choices", compared)),
                seconds=float(row["seconds"]),
                repeat=row["repeat"],
            )
        )
    return found


def _interval_of(rows: Sequence[tuple[float, Judgement]], bounds: tuple[float, float]) -> Interval:
    listeners, items = [row.listener for _, row in rows], [row.utterance for _, row in rows]
    return two_way_interval([value for value, _ in rows], listeners, items, bounds)


def first_answers(judgements: Iterable[Judgement], kind: str) -> list[Judgement]:
    """Those of a kind, without the questions that were asked again."""
    return [row for row in judgements if row.kind == kind and not row.repeat]


def score_pairs(judgements: Iterable[Judgement], kind: str) -> list[PairResult]:
    """Results of "preference" or "abx", pair by pair."""
    pairs: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for row in first_answers(judgements, kind):
        pairs[row.systems[0], row.systems[1]].append(row)

    def value(row: Judgement) -> float:
        if kind == "abx":
            return float(row.said == "right")
        return 0.5 if row.said == SAME else float(row.said == row.systems[0])

    return [
        PairResult(
            *pair,
            share=_interval_of([(value(row), row) for row in rows], SHARE),
            ties=sum(row.said == SAME for row in rows) / len(rows),
        )
        for pair, rows in sorted(pairs.items())
    ]


def score_systems(judgements: Iterable[Judgement], kind: str, systems: Sequence[str]) -> list[SystemResult]:
    """Results of "mos" (grades) or "words" (1 where right), system by system, each minus the first."""
    rows = first_answers(judgements, kind)
    value: Callable[[Judgement], float] = (
        (lambda row: float(row.said)) if kind == "mos" else (lambda row: float(row.said == "right"))
    )
    results: list[SystemResult] = []
    for system in systems:
        own = [(value(row), row) for row in rows if row.systems == [system]]
        if own:
            first = results[0].system if results else None
            bounds = GRADE if kind == "mos" else SHARE
            difference = _difference(rows, value, (system, first), DIFFERENCES[bounds]) if first else None
            results.append(SystemResult(system, _interval_of(own, bounds), difference))
    return results


def _difference(
    rows: Sequence[Judgement],
    value: Callable[[Judgement], float],
    systems: tuple[str, str],
    bounds: tuple[float, float],
) -> Interval | None:
    """The first system minus the second where one listener has judged both on one utterance; None where nobody has."""
    given = {(row.systems[0], row.listener, row.utterance): value(row) for row in rows}
    system, other = systems
    paired = [
        (value(row) - given[other, row.listener, row.utterance], row)
        for row in rows
        if row.systems == [system] and (other, row.listener, row.utterance) in given
    ]
    return _interval_of(paired, bounds) if paired else None


def krippendorff_alpha(ratings: Iterable[Sequence[float | str]], *, nominal: bool) -> float | None:
    """Agreement of the values that listeners gave to each item; None where there is nothing to agree on.

    ratings: for each item the values given to it, in any order; items with one value do not count. nominal: values are
    equal or not; else their squared difference counts.
    """
    units = [list(values) for values in ratings if len(values) > 1]
    pooled = [value for values in units for value in values]
    if len(set(pooled)) < 2:
        return None
    observed = sum(_disagreement(values, nominal) / (len(values) - 1) for values in units) / len(pooled)
    expected = _disagreement(pooled, nominal) / (len(pooled) * (len(pooled) - 1))
    return 1 - observed / expected


def _disagreement(values: Sequence[float | str], nominal: bool) -> float:
    """Sum over all ordered pairs of values of how far they lie apart."""
    if nominal:
        return len(values) ** 2 - sum(count**2 for count in Counter(values).values())
    numbers = np.asarray(values, np.float64)
    return float(2 * (len(numbers) * np.square(numbers).sum() - numbers.sum() ** 2))


def agreement(judgements: Iterable[Judgement], kind: str) -> float | None:
    """Krippendorff's alpha of the listeners, over trials."""
    trials: dict[str, list[float | str]] = defaultdict(list)
    for row in first_answers(judgements, kind):
        trials[row.trial].append(float(row.said) if kind == "mos" else row.said if kind != "words" else row.answer)
    return krippendorff_alpha(trials.values(), nominal=kind != "mos")


def describe_listeners(people: Sequence[ListeningAnswers], judgements: Sequence[Judgement]) -> list[ListenerRow]:
    """A row for each listener; ``judgements`` are those of all of them."""
    own: dict[str, list[Judgement]] = defaultdict(list)
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for row in judgements:
        own[row.listener].append(row)
        if row.kind == "mos" and not row.repeat:
            grades[row.trial][row.listener] = int(row.said)
    return [_describe(answers, own[answers["listener_id"]], grades) for answers in people]


def _describe(answers: ListeningAnswers, own: Sequence[Judgement], grades: Mapping[str, Mapping]) -> ListenerRow:
    first = {row.trial: row for row in own if not row.repeat}
    repeats = [(first[row.trial], row) for row in own if row.repeat and row.trial in first]
    n_agree = sum(_agree(before, again) for before, again in repeats)
    median = statistics.median(row.seconds for row in own) if own else 0.0
    together = _correlate_with_others(
        answers["listener_id"], [given for name, given in grades.items() if name in first]
    )
    doubts = _doubts(list(first.values()), (n_agree, len(repeats)), median, together)
    return ListenerRow(
        listener=answers["listener"],
        n_answers=len(own),
        finished=answers["finished"] is not None,
        median_seconds=median,
        repeats_agree=(n_agree, len(repeats)),
        with_others=together,
        warnings=[said for said in doubts if said],
    )


def _correlate_with_others(listener: str, graded: Sequence[Mapping[str, int]]) -> float | None:
    """Pearson correlation of a listener's grades with the mean of the others'; None for too few, or no spread."""
    pairs = [
        (given[listener], (sum(given.values()) - given[listener]) / (len(given) - 1))
        for given in graded
        if len(given) > MIN_OTHERS
    ]
    if len(pairs) < MIN_GRADES or any(len(set(values)) == 1 for values in zip(*pairs)):
        return None
    return float(np.corrcoef(np.array(pairs).T)[0, 1])


def _agree(before: Judgement, again: Judgement) -> bool:
    if before.kind == "mos":
        return abs(int(before.said) - int(again.said)) <= 1
    return before.said == again.said


def _doubts(
    rows: Sequence[Judgement], repeats: tuple[int, int], median: float, together: float | None
) -> Iterable[str]:
    """Reasons to doubt that a listener listened; "" where there is none."""
    grades = {row.said for row in rows if row.kind == "mos"}
    sides = [row.side for row in rows if row.side is not None and row.kind in ("preference", "abx")]
    n_left = sides.count(0)
    yield f"gave the same answer again in {repeats[0]} of {repeats[1]}" if _is_erratic(*repeats) else ""
    yield f"answered within {median:.1f} s" if len(rows) >= MIN_ANSWERS and median < HASTY_SECONDS else ""
    disagrees = together is not None and together < LOW_CORRELATION
    yield f"grades as nobody else does (correlation {together:.2f})" if disagrees else ""
    one_sided = len(sides) >= MIN_ANSWERS and binomtest(n_left, len(sides)).pvalue < SIDE_P
    yield f"chose the left one in {n_left} of {len(sides)}" if one_sided else ""
    n_graded = sum(row.kind == "mos" for row in rows)
    yield f"gave {next(iter(grades))} to everything" if len(grades) == 1 and n_graded >= MIN_ANSWERS else ""
    yield "graded the original recordings below every voice" if _prefers_voices(rows) else ""


def _is_erratic(n_agree: int, n_repeats: int) -> bool:
    return n_repeats >= MIN_REPEATS and 3 * n_agree <= n_repeats


def _prefers_voices(rows: Sequence[Judgement]) -> bool:
    grades: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.kind == "mos":
            grades[row.systems[0]].append(int(row.said))
    originals = grades.pop(ORIGINAL, [])
    if len(originals) < MIN_ORIGINALS or not grades:
        return False
    return statistics.mean(originals) < min(statistics.mean(given) for given in grades.values())


def merge_listeners(read: Sequence[tuple[str, ListeningAnswers]]) -> tuple[list[ListeningAnswers], list[str]]:
    """One entry a session, that with most answers, and a line for each file that another one replaces.

    read: (file, answers). People of one name are two: the page gives each session an id.
    """
    best: dict[str, tuple[str, ListeningAnswers]] = {}
    said = []
    for name, answers in read:
        session = answers["listener_id"]
        if session not in best:
            best[session] = (name, answers)
            continue
        worse, better = sorted([best[session], (name, answers)], key=lambda entry: len(entry[1]["answers"]))
        best[session] = better
        said.append(f"{worse[0]}: the same session of {answers['listener']} is in {better[0]}; used that")
    names = Counter(answers["listener"] for _, answers in best.values())
    people = []
    for _, answers in best.values():
        shared = names[answers["listener"]] > 1
        shown = f"{answers['listener']} ({answers['listener_id']})" if shared else answers["listener"]
        people.append(answers | {"listener": shown})
    return people, said


def chance_of_words(judgements: Iterable[Judgement]) -> float:
    """The share that is right if everybody guesses."""
    return statistics.mean(1 / row.n_choices for row in first_answers(judgements, "words"))


def hardest_items(judgements: Iterable[Judgement], kind: str, n: int) -> list[tuple[str, str, float, int]]:
    """(system, utterance, mean, judgements) of the ``n`` lowest: grades, or the share that was right."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in first_answers(judgements, kind):
        if row.systems != [ORIGINAL]:
            value = float(row.said) if kind == "mos" else float(row.said == "right")
            values[row.systems[0], row.utterance].append(value)
    found = [(*place, statistics.mean(given), len(given)) for place, given in values.items()]
    return sorted(found, key=lambda entry: (entry[2], entry[:2]))[:n]
