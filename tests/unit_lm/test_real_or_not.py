"""False continuations hold what they say, and a model that knows the truth is right."""

import numpy as np

import pytest

from unit_lm.duration_bits import count_durations, duration_bits
from unit_lm.real_or_not import judge, make_choices, read_words
from unit_lm.utterances import UnitUtterance, slice_frames
from units.corpus import expand

LENGTHS = {"prompt_seconds": 0.2, "continuation_seconds": 0.4}


def rising(name: str, first: int) -> UnitUtterance:
    """Units that go up by one, each of one to three frames."""
    units = np.arange(first, first + 30)
    return UnitUtterance(name, "aa", units, 1 + units % 3, f"{name}.wav", 0.0)


def test_false_continuations_keep_the_prompt_and_the_units() -> None:
    utterances = [rising("one", 0), rising("two", 102), rising("short", 200)._replace(durations=np.ones(30, int))]
    utterances[2] = slice_frames(utterances[2], 0, 10)
    words = {"aa": {"one.wav": [(0.0, 0.1), (0.24, 0.3), (0.34, 0.4), (0.46, 0.9)]}}
    choices = make_choices(utterances, words, seed=0, **LENGTHS)
    assert len(choices) == 2 and set(choices[0].false) == {"reversed", "shuffled", "other", "spliced"}
    assert "spliced" not in choices[1].false
    # Units last 1, 2, 3, 1, … frames, and end at frames 9, 12, 15, 18, 24 and 30 among others.
    frames = {name: expand(one.units, one.durations) for name, one in choices[0].false.items()}
    true = expand(choices[0].true.units, choices[0].true.durations)
    assert len(true) == 30 and all(len(found) == 30 for found in frames.values())
    assert all((found[:9] == true[:9]).all() and (found != true).any() for found in frames.values())
    assert (frames["reversed"][9:] == true[:8:-1]).all() and (frames["other"][9:] >= 102).all()
    for name in ("shuffled", "spliced"):
        assert sorted(frames[name]) == sorted(true)
    # Words begin at frames 12, 17 and 23, so they are cut at 12, 18 and 24; what stands before them stays.
    assert (frames["spliced"][:12] == true[:12]).all() and len(choices[0].false["spliced"].units) == len(
        choices[0].true.units
    )
    joins = np.flatnonzero(np.diff(choices[0].false["spliced"].units) != 1)
    assert 2 <= len(joins) <= 3, "three words that each stay whole"


def test_who_counts_steps_upwards_is_right_and_who_counts_units_is_not() -> None:
    choices = make_choices([rising("one", 0), rising("two", 3)], {}, seed=0, **LENGTHS)
    steps = judge(choices, lambda utterances: [float((np.diff(one.units) != 1).sum()) for one in utterances])
    assert [set(row) for row in steps] == [{"reversed", "shuffled", "other"}] * 2
    assert all(row["reversed"] == row["shuffled"] == 1 for row in steps)
    lengths = judge(choices, lambda utterances: [float(len(one.units)) for one in utterances])
    assert all(value == 0.5 for row in lengths for value in row.values())


def test_words_are_read_in_order(tmp_path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("source\tstart\tend\ttext\na.wav\t1.5\t2\tdois\na.wav\t0\t1.25\tum\n")
    assert read_words(path) == {"a.wav": [(0.0, 1.25), (1.5, 2.0)]}


def test_probabilities_of_durations_sum_to_one() -> None:
    units, durations = np.array([0, 1, 0, 0, 1]), np.array([1, 2, 1, 3, 2])
    counts = count_durations([(units, durations)], n_units=3)
    for unit in range(3):
        every = [2 ** -duration_bits(counts, np.array([unit]), np.array([n])) for n in range(1, 400)]
        assert sum(every) == pytest.approx(1, abs=1e-6)
    assert duration_bits(counts, np.array([1]), np.array([2])) < duration_bits(counts, np.array([1]), np.array([1]))
    assert duration_bits(counts, units, durations) == pytest.approx(
        sum(duration_bits(counts, units[[n]], durations[[n]]) for n in range(5))
    )
