"""Scores of listening tests: what was planted is found, agreement, and who is doubted."""

from collections import defaultdict

import numpy as np

import pytest

from listening_examples import make_test, simulate
from simulate_listeners import careless, make_answers

from evaluation.listening import (
    Judgement,
    agreement,
    chance_of_words,
    describe_listeners,
    hardest_items,
    krippendorff_alpha,
    merge_listeners,
    read_judgements,
    score_pairs,
    score_systems,
)
from evaluation.listening_files import SAME

# The example of Krippendorff (2011): four observers, twelve units, 0 where nobody looked.
OBSERVED = """
1 2 3 3 2 1 4 1 2 0 0 0
1 2 3 3 2 2 4 1 2 5 0 3
0 3 3 3 2 3 4 2 2 5 1 0
1 2 3 3 2 4 4 1 2 5 1 0
"""


def test_alpha_is_krippendorffs() -> None:
    columns = np.array([line.split() for line in OBSERVED.strip().splitlines()], int).T
    units = [[value for value in column if value] for column in columns.tolist()]
    assert krippendorff_alpha(units, nominal=True) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(units, nominal=False) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha([[1, 1], [1, 1, 1]], nominal=True) is None
    assert krippendorff_alpha([[1, 2], [2, 1]], nominal=True) < 0


def test_what_was_planted_is_found() -> None:
    key, judgements, people = simulate(better=1.2)
    graded = {row.system: row for row in score_systems(judgements, "mos", key["systems"])}
    assert graded["a"].difference is None and graded["b"].difference.low > 0 and graded["original"].difference.low > 0
    (pair,) = score_pairs(judgements, "preference")
    assert (pair.first, pair.second) == ("a", "b") and pair.share.high < 0.5
    words = {row.system: row.mean.mean for row in score_systems(judgements, "words", key["systems"])}
    assert words["original"] == 1.0 and words["b"] > words["a"] > chance_of_words(judgements) == 0.25
    (told,) = score_pairs(judgements, "abx")
    assert told.share.low > 0.5
    assert agreement(judgements, "mos") > 0.2
    assert hardest_items(judgements, "mos", 1)[0][0] == "a"
    assert sum(bool(row.warnings) for row in describe_listeners(people, judgements)) <= 1


def test_where_nothing_is_nothing_is_found() -> None:
    key, judgements, _ = simulate(better=0.0, seed=3)
    graded = {row.system: row for row in score_systems(judgements, "mos", key["systems"])}
    (pair,) = score_pairs(judgements, "preference")
    assert graded["b"].difference.low < 0 < graded["b"].difference.high and pair.share.low < 0.5 < pair.share.high


def test_who_does_not_listen_is_doubted() -> None:
    key, judgements, _ = simulate(better=1.2)
    random, n_doubted = np.random.default_rng(0), 0
    for _ in range(10):
        clicks = make_answers(key, "clicks", careless(random), random)
        (row,) = describe_listeners([clicks], [*judgements, *read_judgements(clicks, key)])
        n_doubted += any("as nobody else does" in said for said in row.warnings)
    assert n_doubted >= 7
    by_kind: dict[str, list] = defaultdict(list)
    for answer in clicks["answers"]:
        by_kind[answer["trial"].partition("-")[0]].append(answer)
    same = [answer | {"answer": "3", "seconds": 0.1} for answer in by_kind["mos"]]
    left = [answer | {"answer": answer["shown"][0]} for answer in by_kind["preference"] + by_kind["abx"]]
    lazy = clicks | {"answers": [*same, *left]}
    (row,) = describe_listeners([lazy], read_judgements(lazy, key))
    said = " ".join(row.warnings)
    assert "gave 3 to everything" in said and "chose the left one in" in said


def test_repeated_questions_do_not_count_twice() -> None:
    key, judgements, _ = simulate(better=0.5)
    n_asked = sum(row.kind == "mos" and not row.repeat for row in judgements)
    assert any(row.repeat for row in judgements)
    assert sum(row.mean.n for row in score_systems(judgements, "mos", key["systems"])) == n_asked


def test_a_session_with_two_files_counts_once_and_people_of_one_name_are_two() -> None:
    _, _, (answers, other, *_) = simulate(better=0.5)
    short = answers | {"answers": answers["answers"][:2]}
    namesake = other | {"listener": answers["listener"]}
    people, said = merge_listeners([("short.json", short), ("whole.json", answers), ("namesake.json", namesake)])
    assert [row["listener"] for row in people] == ["listener 0 (listener 0)", "listener 0 (listener 1)"]
    assert [len(row["answers"]) for row in people] == [len(answers["answers"])] * 2
    assert said == ["short.json: the same session of listener 0 is in whole.json; used that"]


def test_no_difference_counts_half() -> None:
    key = make_test(["preference"])
    common = {"answer": SAME, "seconds": 1.0, "repeat": False}
    rows = [common | {"trial": trial["id"], "shown": trial["clips"]} for trial in key["trials"]]
    (pair,) = score_pairs(read_judgements({"listener_id": "l", "answers": rows}, key), "preference")
    assert pair.share.mean == 0.5 and pair.ties == 1.0


def judged(kind: str, said: object, number: int, *, listener: str = "l", **changed: object) -> Judgement:
    """The answer to question ``number``, slow and unsuspicious unless ``changed``."""
    row = Judgement(listener, kind, f"{kind}-{number}", f"u{number}", ["a"], str(said), "", None, 4, 5.0, False)
    return row._replace(**changed)


def warnings_of(rows: list[Judgement]) -> str:
    (row,) = describe_listeners([{"listener": "l", "listener_id": "l", "finished": None, "answers": []}], rows)
    return " ".join(row.warnings)


def asked_again(n: int, n_agree: int) -> list[Judgement]:
    first = [judged("words", "right", number) for number in range(n)]
    return first + [
        row._replace(repeat=True, said="right" if number < n_agree else "wrong") for number, row in enumerate(first)
    ]


def choices(n: int, n_left: int, **changed: object) -> list[Judgement]:
    return [judged("abx", "right", number, side=int(number >= n_left), **changed) for number in range(n)]


def grades_of(originals: list[int], voice: list[int]) -> list[Judgement]:
    given = [(["original"], grade) for grade in originals] + [(["a"], grade) for grade in voice]
    return [judged("mos", grade, number, systems=systems) for number, (systems, grade) in enumerate(given)]


@pytest.mark.parametrize(
    ("rows", "doubt", "doubted"),
    [
        (asked_again(6, 2), "the same answer again in 2 of 6", True),
        (asked_again(6, 3), "the same answer again", False),
        (asked_again(5, 0), "the same answer again", False),
        (choices(8, 4, seconds=0.39), "answered within 0.4 s", True),
        (choices(7, 4, seconds=0.39), "answered within", False),
        (choices(8, 4, seconds=0.4), "answered within", False),
        (choices(11, 11), "chose the left one in 11 of 11", True),
        (choices(11, 0), "chose the left one in 0 of 11", True),
        (choices(10, 10), "chose the left one", False),
        (grades_of([], [3] * 8), "gave 3 to everything", True),
        (grades_of([], [3] * 7), "to everything", False),
        (grades_of([], [3] * 7 + [4]), "to everything", False),
        (grades_of([1, 2, 1, 2], [2, 3]), "below every voice", True),
        (grades_of([1, 2, 1], [2, 3]), "below every voice", False),
        (grades_of([1, 2, 1, 2], [1, 2]), "below every voice", False),
    ],
)
def test_who_is_doubted_and_who_just_is_not(rows: list[Judgement], doubt: str, doubted: bool) -> None:
    assert (doubt in warnings_of(rows)) == doubted


@pytest.mark.parametrize(("n", "n_others", "known"), [(12, 2, True), (11, 2, False), (12, 1, False)])
def test_grades_are_compared_with_two_others_on_twelve_clips(n: int, n_others: int, known: bool) -> None:
    rows = [judged("mos", 1 + number % 5, number) for number in range(n)]
    for other in range(n_others):
        rows += [judged("mos", 5 - number % 5, number, listener=f"other {other}") for number in range(n)]
    (row,) = describe_listeners([{"listener": "l", "listener_id": "l", "finished": None, "answers": []}], rows)
    assert row.with_others == (pytest.approx(-1.0) if known else None)
    assert ("as nobody else does (correlation -1.00)" in " ".join(row.warnings)) == known


def test_a_judgement_names_what_the_key_hides() -> None:
    key = make_test()
    trials = {trial["kind"]: trial for trial in key["trials"]}
    answers = {}
    for kind, trial in trials.items():
        given = {"mos": "4", "words": trial.get("right"), "abx": trial["clips"][0]}.get(kind, trial["clips"][-1])
        shown = trial["clips"][::-1]
        answers[kind] = {"trial": trial["id"], "answer": given, "shown": shown, "seconds": 2, "repeat": kind == "mos"}
    found = {row.kind: row for row in read_judgements({"listener_id": "l", "answers": [*answers.values()]}, key)}
    for kind, trial in trials.items():
        clips, row = [key["clips"][clip] for clip in trial["clips"]], found[kind]
        compared = clips[:2] if kind in ("preference", "abx") else clips[:1]
        assert row.systems == [clip["system"] for clip in compared] and row.utterance == clips[0]["utterance"]
        assert (row.listener, row.trial, row.answer) == ("l", trial["id"], answers[kind]["answer"])
        assert row.seconds == 2.0 and row.repeat == (kind == "mos")
        assert row.n_choices == {"preference": 2, "abx": 2, "mos": 1, "words": 4}[kind]
    assert {kind: row.side for kind, row in found.items()} == {"preference": 0, "abx": 2, "mos": None, "words": None}
    assert found["preference"].said == found["preference"].systems[1] and found["words"].said == "right"


def test_systems_are_compared_with_the_first_where_one_person_heard_both() -> None:
    """Of b, one grade has no fellow; c was heard by nobody else."""
    given = [("l", "u0", "a", 2), ("l", "u0", "b", 4), ("m", "u0", "a", 3), ("m", "u0", "b", 3), ("m", "u1", "b", 5)]
    given += [("n", "u2", "c", 1), ("n", "u2", "original", 5)]
    rows = [
        judged("mos", grade, number, listener=listener, utterance=utterance, systems=[system])
        for number, (listener, utterance, system, grade) in enumerate(given)
    ]
    found = {row.system: row for row in score_systems(rows, "mos", ["nobody", "a", "b", "c", "original"])}
    assert {name: row.mean.mean for name, row in found.items()} == {"a": 2.5, "b": 4.0, "c": 1.0, "original": 5.0}
    assert found["a"].difference is found["c"].difference is None
    assert (found["b"].difference.mean, found["b"].difference.n) == (1.0, 2)
    assert (found["c"].mean.low, found["c"].mean.high) == (1.0, 5.0), "one answer tells nothing of others"
    assert hardest_items(rows, "mos", 3) == [("c", "u2", 1.0, 1), ("a", "u0", 2.5, 2), ("b", "u0", 3.5, 2)]
    assert len(hardest_items(rows, "mos", 9)) == 4, "not the originals"


@pytest.mark.parametrize(("kind", "low", "high", "most"), [("words", "wrong", "right", 1.0), ("mos", 1, 5, 4.0)])
def test_a_difference_is_no_larger_than_can_be(kind: str, low: object, high: object, most: float) -> None:
    rows = [
        judged(kind, said, 0, listener=listener, utterance=f"u{number}", systems=[system])
        for system, said in (("a", low), ("b", high))
        for listener in "lm"
        for number in range(2)
    ]
    for systems, mean in ((["a", "b"], most), (["b", "a"], -most)):
        difference = score_systems(rows, kind, systems)[1].difference
        assert difference.mean == mean and sorted((abs(difference.low), abs(difference.high)))[1] == most


def test_shares_of_pairs_count_who_was_preferred_and_who_was_told() -> None:
    def compared(said: list[str], kind: str = "preference") -> list[Judgement]:
        return [judged(kind, one, number, systems=["a", "b"]) for number, one in enumerate(said)]

    (pair,) = score_pairs(compared(["a", "b", "a", SAME, "a"]), "preference")
    assert (pair.share.mean, pair.ties, pair.share.n) == (0.7, 0.2, 5)
    (told,) = score_pairs(compared(["right", "wrong", "right", "right"], "abx"), "abx")
    assert (told.share.mean, told.ties) == (0.75, 0.0)
    words = [judged("words", said, number) for number, said in enumerate(["right", "wrong", "wrong"])]
    (row,) = score_systems(words, "words", ["a"])
    assert row.mean.mean == pytest.approx(1 / 3) and chance_of_words(words) == 0.25
    assert hardest_items(words, "words", 1) == [("a", "u1", 0.0, 1)]
    both = compared(["a"]) + [row._replace(systems=["a", "c"]) for row in compared(["c"])]
    assert [(one.first, one.second, one.share.mean) for one in score_pairs(both, "preference")] == [
        ("a", "b", 1.0),
        ("a", "c", 0.0),
    ]


def test_people_agree_on_words_by_what_they_answered_and_on_grades_by_how_near_they_are() -> None:
    def asked(kind: str, said: list[tuple[str, str]]) -> list[Judgement]:
        return [
            judged(kind, one, number, answer=one, listener=name)
            for number, pair in enumerate(said)
            for name, one in zip("lm", pair)
        ]

    assert agreement(asked("words", [("x", "x"), ("y", "y")]), "words") == 1.0
    right = [row._replace(said="right") for row in asked("words", [("x", "y"), ("y", "x")])]
    assert agreement(right, "words") == pytest.approx(-0.5)
    near, far = asked("mos", [("1", "2"), ("5", "4")]), asked("preference", [("1", "2"), ("5", "4")])
    assert agreement(near, "mos") == pytest.approx(0.85) and agreement(far, "preference") == pytest.approx(0.0)


def test_grades_given_again_may_miss_by_one() -> None:
    first = [judged("mos", 3, number) for number in range(6)]
    for said, n_agree in ((4, 6), (2, 6), (5, 0), (1, 0)):
        again = [row._replace(repeat=True, said=str(said)) for row in first]
        (row,) = describe_listeners([LISTENER], first + again)
        assert row.repeats_agree == (n_agree, 6) and row.n_answers == 12 and not row.finished
    (row,) = describe_listeners([LISTENER | {"finished": "today"}], [])
    assert (row.n_answers, row.median_seconds, row.finished, row.repeats_agree) == (0, 0.0, True, (0, 0))


def test_of_two_files_of_a_session_the_longer_counts_and_equals_the_later() -> None:
    def answers(session: str, name: str, n: int) -> dict:
        return {"listener_id": session, "listener": name, "answers": list(range(n))}

    people, said = merge_listeners(
        [
            ("a", answers("1", "eva", 3)),
            ("b", answers("1", "eva", 3)),
            ("c", answers("1", "eva", 2)),
            ("d", answers("2", "ana", 1)),
        ]
    )
    assert [(row["listener"], len(row["answers"])) for row in people] == [("eva", 3), ("ana", 1)]
    assert said == ["a: the same session of eva is in b; used that", "c: the same session of eva is in b; used that"]


LISTENER = {"listener": "l", "listener_id": "l", "finished": None, "answers": []}
