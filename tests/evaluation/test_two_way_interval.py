"""Intervals over people and sentences: one listener, those who differ, and where everybody says the same."""

import numpy as np

import pytest
from scipy.stats import binomtest, ttest_1samp
from scipy.stats import t as student

from evaluation.two_way_interval import GRADE, SHARE, two_way_interval

ANY = (-np.inf, np.inf)


def test_with_one_listener_the_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 1, 12)
    found = two_way_interval(values, ["ana"] * 12, [f"u{k}" for k in range(12)], ANY)
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high)) and found.n == 12


def test_listeners_who_differ_widen_the_interval() -> None:
    listeners, items = zip(*[(f"l{k}", f"u{n}") for k in range(6) for n in range(6)])
    noise = np.random.default_rng(0).normal(0, 0.1, 36)
    bias = np.repeat(np.random.default_rng(1).normal(0, 5, 6), 6)
    alike, differing = (two_way_interval(values, listeners, items, ANY) for values in (noise, noise + bias))
    assert differing.high - differing.low > 5 * (alike.high - alike.low)


def test_what_everybody_says_is_not_certain() -> None:
    people, items = zip(*[(f"l{k}", f"u{n}") for k in range(10) for n in range(8)])
    found = two_way_interval([1.0] * 80, people, items, SHARE)
    assert (found.mean, found.high) == (1.0, 1.0) and 0.6 < found.low < 0.75, "ten people, not eighty"
    nearly = two_way_interval([0.0] + [1.0] * 79, people, items, SHARE)
    assert 0.6 < nearly.low < 0.93 and nearly.high < 1.0
    half = two_way_interval([0.5] * 80, people, items, SHARE)
    assert half.low < 0.4 and half.high > 0.6
    grades = two_way_interval([3.0] * 80, people, items, GRADE)
    assert 0.1 < grades.high - grades.mean < 0.5
    assert two_way_interval([5.0] * 80, people, items, GRADE).high == 5.0
    right = two_way_interval([1.0], ["a"], ["u"], SHARE)
    assert (right.low, right.high, SHARE, GRADE) == (0.0, 1.0, (0.0, 1.0), (1.0, 5.0))
    one = two_way_interval([4.0], ["a"], ["u"], GRADE)
    assert (one.low, one.high) == GRADE, "one answer tells nothing of others"
    with pytest.raises(ValueError, match="found none"):
        two_way_interval([], [], [], ANY)


def test_shares_of_independent_people_have_wilsons_interval() -> None:
    values = [1.0] * 30 + [0.0] * 20
    found = two_way_interval(values, [f"l{k}" for k in range(50)], ["u"] * 50, SHARE)
    expected = binomtest(30, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_independent_answers_of_few_people_count_each() -> None:
    """80 answers of ten people who each change as sentences do: as wide as Wilson's of 80, not as that of ten."""
    listeners, items = zip(*[(f"l{k}", f"u{n}") for k in range(10) for n in range(8)])
    values = np.random.default_rng(3).permutation([1.0] * 40 + [0.0] * 40)
    found = two_way_interval(values, listeners, items, SHARE)
    expected, of_ten = (binomtest(n // 2, n).proportion_ci(method="wilson") for n in (80, 10))
    assert found.high - found.low < 1.5 * (expected.high - expected.low) < of_ten.high - of_ten.low


PEOPLE, SENTENCES = list("aabb"), list("uvuv")
REACH = student.ppf(0.975, 2)  # two people and two sentences: 2 + 2 - 2 degrees of freedom


def test_a_share_by_hand() -> None:
    """Right, wrong, right, right: .75, of which people, sentences and single answers each have a variance of 1/16.

    So three answers' worth is told, by the one that differs; against four times two people that is 11/5.
    """
    found = two_way_interval([1.0, 0.0, 1.0, 1.0], PEOPLE, SENTENCES, SHARE)
    assert found.mean == 0.75 and 0 < found.low < 0.75 < found.high < 1
    for end in (found.low, found.high):  # Wilson's ends
        assert (end - 0.75) ** 2 == pytest.approx(REACH**2 * end * (1 - end) / 2.2)


def test_a_share_of_people_who_differ_in_nothing_by_hand() -> None:
    """Each of two people is right as often: the variance of people is 0, and that of the whole 1/4, of sentences."""
    found = two_way_interval([1.0, 0.0, 1.0, 0.0], PEOPLE, SENTENCES, SHARE)
    n = (4 * 2 + 2 * 1) / (4 + 2)  # one answer's worth is told, by the two of four that differ
    for end in (found.low, found.high):
        assert (end - 0.5) ** 2 == pytest.approx(REACH**2 * end * (1 - end) / n)


def test_shares_are_of_sentences_where_one_person_listened() -> None:
    found = two_way_interval([1.0] * 4, ["a"] * 4, list("uvwx"), SHARE)
    reach = student.ppf(0.975, 3)
    assert found.high == 1 and found.low == pytest.approx(4 / (4 + reach**2))


@pytest.mark.parametrize(
    ("values", "bounds", "variance", "ends"),
    [
        ([3.0, 4.0, 3.0, 4.0], GRADE, 1 / 4, (None, 5.0)),
        ([3.0, 3.0, 3.0, 3.0], GRADE, 1 / 24, (None, None)),
        ([1.0, 1.0, 1.0, 2.0], GRADE, 1 / 16, (1.0, None)),
        ([1.0, 1.0, 1.0, 1.0], (-4.0, 4.0), 1 / 12, (None, None)),
    ],
)
def test_grades_by_hand(values: list[float], bounds: tuple, variance: float, ends: tuple) -> None:
    """The spread is at least what rounding brings to the grades of two people; differences are rounded twice."""
    found, reach = two_way_interval(values, PEOPLE, SENTENCES, bounds), REACH * np.sqrt(variance)
    mean = np.mean(values)
    expected = [end if end is not None else mean + side * reach for end, side in zip(ends, (-1, 1))]
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((mean, *expected, 4))
