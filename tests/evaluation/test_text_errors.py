"""Normalisation and edit counts: stored cases, jiwer, and a plain recursion."""

import functools
import json
import random

import jiwer
import pytest

from core.errors import UserError
from core.text_normalisation import normalise_text
from evaluation.text_errors import (
    EditCounts,
    character_distance,
    count_character_edits,
    count_edits,
    count_word_edits,
    error_rate,
    find_spelling,
    load_normaliser,
    split_words,
    total_edits,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("¡Hola,  DON'T stop!", "hola don't stop"),
        ("Por favor... número-uno; ÁÉÍ", "por favor número uno áéí"),
        ("wẽ’ẽ ʼi 'x' a'", "wẽ'ẽ ʼi x a'"),
        ("a\u0301 \u00e1", "á á"),
        ("Straße №5, 3½", "strasse no5 31 2"),
        ("हिन्दी, မြန်မာ。", "हिन्दी မြန်မာ"),
        ("… ¿? —", ""),
    ],
)
def test_normalised_text(text, expected):
    assert normalise_text(text) == expected
    assert normalise_text(expected) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "substitutions", "deletions", "insertions"),
    [
        ("abc", "abc", 0, 0, 0),
        ("abcd", "abxd", 1, 0, 0),
        ("abcd", "abd", 0, 1, 0),
        ("abcd", "abced", 0, 0, 1),
        ("kitten", "sitting", 2, 0, 1),
        ("abc", "", 0, 3, 0),
        ("", "ab", 0, 0, 2),
        (["no", "hay", "nadie"], ["no", "ay", "nadie", "aquí"], 1, 0, 1),
    ],
)
def test_counts_by_hand(reference, hypothesis, substitutions, deletions, insertions):
    assert count_edits(reference, hypothesis) == EditCounts(substitutions, deletions, insertions, len(reference))


def random_strings(seed: int, longest: int) -> tuple[str, str]:
    draw = random.Random(seed)
    return tuple("".join(draw.choices("abc ", k=draw.randint(1, longest))) for _ in range(2))


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_recursive_definition(seed):
    reference, hypothesis = random_strings(seed, 14)

    @functools.cache
    def distance(n: int, m: int) -> int:
        if n == 0 or m == 0:
            return n + m
        replaced = distance(n - 1, m - 1) + (reference[n - 1] != hypothesis[m - 1])
        return min(replaced, distance(n - 1, m) + 1, distance(n, m - 1) + 1)

    counts = count_edits(reference, hypothesis)
    assert total_edits(counts) == distance(len(reference), len(hypothesis))
    assert len(reference) - counts.deletions + counts.insertions == len(hypothesis)


def test_equals_jiwer():
    for seed in range(50):
        reference, hypothesis = (normalise_text(text) or "a" for text in random_strings(seed, 60))
        characters, words = (count(reference, hypothesis) for count in (count_character_edits, count_word_edits))
        assert error_rate([characters]) == jiwer.cer(reference, hypothesis)
        assert error_rate([words]) == jiwer.wer(reference, hypothesis)
        assert character_distance(reference, hypothesis) == total_edits(characters)


def test_the_rate_of_a_set_is_of_all_its_words_as_jiwer_has_it():
    texts = [random_strings(seed, 40) for seed in range(30)]
    references, hypotheses = map(list, zip(*texts))
    assert error_rate(list(map(count_word_edits, references, hypotheses))) == jiwer.wer(references, hypotheses)
    assert error_rate([count_word_edits("", "a b"), count_word_edits(" ", "c")]) == jiwer.wer(["", " "], ["a b", "c"])


def test_kinds_of_edits_and_words_are_those_of_jiwer():
    draw = random.Random(4)
    for _ in range(200):
        reference, hypothesis = ("".join(draw.choices("ab  \t\n", k=draw.randint(0, 12))) for _ in range(2))
        theirs = jiwer.process_words(reference, hypothesis)
        assert [split_words(reference)] == theirs.references and [split_words(hypothesis)] == theirs.hypotheses
        kinds = count_word_edits(reference, hypothesis)[:3]
        assert kinds == (theirs.substitutions, theirs.deletions, theirs.insertions)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("none", " A,  b ", " A,  b "),
        ("basic", "Hello (aside), WORLD!", "hello world"),
        ("english", "Mr. Smith can't pay twenty-one dollars, um", "mister smith can not pay $21"),
        ("unicode", "Wẽ’Ẽ, ʼI!", "wẽ'ẽ ʼi"),
    ],
)
def test_normalisers_by_name(name, text, expected):
    normalised = load_normaliser(name)(text)
    assert normalised == expected if name == "none" else normalised.strip() == expected


def test_marks_that_basic_loses_unicode_keeps():
    assert load_normaliser("unicode")("हिन्दी") == "हिन्दी" != load_normaliser("basic")("हिन्दी")


def test_british_spelling_becomes_american_with_a_whisper_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("ORAL_UNITS_WHISPER", raising=False)
    assert find_spelling(None) is None
    (tmp_path / "normalizer.json").write_text(json.dumps({"colour": "color"}))
    for found in (find_spelling(tmp_path), find_spelling(tmp_path / "normalizer.json")):
        assert load_normaliser("english", found)("the Colour") == "the color"
    monkeypatch.setenv("ORAL_UNITS_WHISPER", str(tmp_path))
    assert find_spelling(None) == tmp_path / "normalizer.json"
    with pytest.raises(UserError, match="normalizer.json, found none"):
        find_spelling(tmp_path / "elsewhere")
    (tmp_path / "normalizer.json").write_text("[1]")
    with pytest.raises(UserError, match="expected an object of spellings"):
        load_normaliser("english", tmp_path / "normalizer.json")
