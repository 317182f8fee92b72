"""The path through the trellis: against every path there is, in bounded memory, and with ways out of the text."""

import math

import numpy as np

import pytest

from alignment.trellis import BLANK, FIRST_LETTER, STAR, Costs, best_path, make_script

COSTS = Costs(star_enter=2.0, star_position=0.3, skip_start=2.0, skip_letter=0.5, skip_most=3.0)


def random_case(seed: int):
    """(emissions, script) of a few words, in which letters repeat."""
    rng = np.random.default_rng(seed)
    n_letters, n_positions = 3, int(rng.integers(2, 40))
    words = [
        rng.integers(FIRST_LETTER, FIRST_LETTER + n_letters, rng.integers(1, 4)) for _ in range(rng.integers(1, 7))
    ]
    logits = 2 * rng.normal(size=(n_positions, n_letters + 1))
    nats = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    best = nats.max(1, keepdims=True)
    emissions = np.concatenate([nats[:, :1], nats[:, :1] + 0.1, best, best - 0.4, nats[:, 1:]], axis=1)
    return emissions.astype(np.float32), make_script([word.tolist() for word in words])


def reference_nats(emissions, script, costs) -> float:
    """The best path's nats by plain dictionaries of states: a second reading of the same rules."""
    columns, hubs = script.columns.tolist(), script.hubs.tolist()

    def pass_over(scores):
        found = dict(scores)
        for high, at in enumerate(hubs):
            for start in hubs[:high]:
                source = max(scores.get(("blank", start), -math.inf), scores.get(("letter", start - 1), -math.inf))
                cost = costs.skip_start + min(costs.skip_letter * (at - start), costs.skip_most)
                found[("blank", at)] = max(found.get(("blank", at), -math.inf), source - cost)
        return found

    scores = pass_over({("blank", 0): 0.0})
    for row in emissions:
        new = {}

        def offer(state, value, new=new):
            new[state] = max(new.get(state, -math.inf), float(value))

        for (kind, at), value in scores.items():
            if kind == "letter":
                offer(("letter", at), value + row[columns[at]])
                if at + 1 < len(columns) and columns[at + 1] != columns[at]:
                    offer(("letter", at + 1), value + row[columns[at + 1]])
            if kind == "blank" and at < len(columns):
                offer(("letter", at), value + row[columns[at]])
            if kind in ("letter", "blank"):
                place = at + 1 if kind == "letter" else at
                offer(("blank", place), value + row[1 if place in hubs else 0])
                if place in hubs:
                    offer(("star", place), value - costs.star_enter + row[2] - costs.star_position)
            if kind == "star":
                offer(("star", at), value + row[2] - costs.star_position)
        for (kind, at), value in list(new.items()):
            if kind == "star":
                offer(("blank", at), value)
        scores = pass_over(new)
    return max(scores.get(("blank", len(columns)), -math.inf), scores.get(("letter", len(columns) - 1), -math.inf))


@pytest.mark.parametrize("seed", range(25))
def test_the_path_is_the_best_one_there_is(seed: int) -> None:
    emissions, script = random_case(seed)
    _, nats = best_path(emissions, script, COSTS)
    assert nats == pytest.approx(reference_nats(emissions, script, COSTS), abs=1e-3)


@pytest.mark.parametrize("most_bytes", [600, 3000])
def test_bounded_memory_gives_the_same_path(most_bytes: int) -> None:
    for seed in range(25):
        emissions, script = random_case(seed)
        whole, nats = best_path(emissions, script, COSTS)
        parts, again = best_path(emissions, script, COSTS, most_bytes=most_bytes)
        assert parts.tolist() == whole.tolist() and again == pytest.approx(nats, abs=1e-3)


def planted(said: str, letters: str = "abcdefgh", sure: float = 0.9) -> np.ndarray:
    """Posteriors that say ``said``: a letter each position, "_" the blank, " " a pause."""
    rest = math.log((1 - sure) / len(letters))
    rows = np.full((len(said), FIRST_LETTER + len(letters)), rest, np.float32)
    for row, letter in zip(rows, said):
        row[FIRST_LETTER + letters.index(letter) if letter in letters else 0] = math.log(sure)
        row[1] = row[0]
        row[2] = math.log(sure)
        row[3] = row[2] - 0.4
    return rows


def words_of(text: str, letters: str = "abcdefgh"):
    return make_script([[FIRST_LETTER + letters.index(letter) for letter in word] for word in text.split()])


def said_words(path: np.ndarray, script) -> list[int]:
    return np.unique(np.searchsorted(script.hubs, path[path >= 0], side="right") - 1).tolist()


def test_planted_letters_are_found_where_they_are() -> None:
    path, _ = best_path(planted("__a_b_  cc__d__ "), words_of("ab cd"))
    assert [int(place) for place in path] == [-1, -1, 0, -1, 1, -1, -1, -1, 2, 2, -1, -1, 3, -1, -1, -1]


def test_words_that_nobody_says_are_passed_over() -> None:
    script = words_of("abab cdcdcd efef")
    assert said_words(best_path(planted("_a_b_a_b__e_f_e_f_"), script)[0], script) == [0, 2]
    assert said_words(best_path(planted("_c_d_c_d_c_d__e_f_e_f_"), script)[0], script) == [1, 2], "at the beginning"
    assert said_words(best_path(planted("_a_b_a_b__c_d_c_d_c_d_"), script)[0], script) == [0, 1], "at the end"


def test_a_missing_chapter_costs_no_more_than_the_most() -> None:
    script = words_of("abab " + "cdcdcdcd " * 200 + "efef")
    path, _ = best_path(planted("_a_b_a_b__" + "_" * 80 + "e_f_e_f_"), script)
    assert said_words(path, script) == [0, 201]


def test_speech_that_is_not_in_the_text_goes_to_a_wildcard() -> None:
    script = words_of("abab efef")
    path, _ = best_path(planted("_a_b_a_b__" + "gchdgh" * 5 + "__e_f_e_f_"), script)
    assert said_words(path, script) == [0, 1]
    assert (path[10:40] == STAR - 1).all() and not (path[:8] <= STAR).any() and (path[:1] == BLANK).all()


def test_a_recording_without_a_position_has_an_empty_path() -> None:
    assert best_path(np.zeros((0, 6), np.float16), words_of("ab"))[0].tolist() == []


def test_the_beginning_is_given_up_only_far_behind() -> None:
    script = words_of("ab " * 30)
    emissions = planted("_a_b__" * 30 + " " * 300)
    assert best_path(emissions, script, reach=30.0)[0].tolist() == best_path(emissions, script)[0].tolist()
