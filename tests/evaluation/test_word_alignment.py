"""Reference and hypothesis word under word."""

import io
import random

import pytest

from evaluation.text_errors import count_word_edits
from evaluation.word_alignment import (
    align_words,
    display_width,
    format_alignment,
    terminal_width,
    wants_colour,
)


def test_plain_lines_mark_every_kind():
    shown = format_alignment(align_words("no hay nadie ya", "ya no ay nadie"), colour=False)
    assert shown.splitlines() == [
        "ref   ** no hay nadie ya",
        "hyp   ya no ay  nadie **",
        "      I     S         D",
    ]
    assert format_alignment(align_words("a b", "a b"), colour=False) == "ref   a b\nhyp   a b"
    assert format_alignment(align_words("", "oh"), colour=False).splitlines() == ["ref   **", "hyp   oh", "      I"]


def test_colour_marks_the_words_that_differ_only():
    shown = format_alignment(align_words("a b c", "a x c"), colour=True)
    assert "\033[33mb\033[0m" in shown and "\033[33mx\033[0m" in shown and shown.count("\033[") == 4


def test_wrapped_lines_fit_and_lose_nothing():
    draw = random.Random(0)
    reference, hypothesis = (" ".join(draw.choices(["uno", "dos", "tres", "cuatro"], k=60)) for _ in range(2))
    lines = format_alignment(align_words(reference, hypothesis), colour=False, width=50).splitlines()
    assert max(map(len, lines)) <= 50
    for label, text in (("ref", reference), ("hyp", hypothesis)):
        words = " ".join(line[6:] for line in lines if line.startswith(label)).split()
        assert [word for word in words if set(word) != {"*"}] == text.split()


def test_the_alignment_shown_is_the_one_counted():
    draw = random.Random(1)
    for _ in range(50):
        reference, hypothesis = (" ".join(draw.choices("abc", k=draw.randint(0, 8))) for _ in range(2))
        kinds = [kind for kind, _, _ in align_words(reference, hypothesis)]
        counts = count_word_edits(reference, hypothesis)
        assert kinds.count("replace") == counts.substitutions
        assert kinds.count("delete") == counts.deletions and kinds.count("insert") == counts.insertions


def test_columns_line_up_in_scripts_of_other_widths():
    assert display_width("日本") == 4 and display_width("wẽ\u0303") == 2
    reference, hypothesis, _ = format_alignment(align_words("日本 x", "b\u0303 y"), colour=False).splitlines()
    assert display_width(reference) == display_width(hypothesis)


@pytest.mark.parametrize(
    ("terminal", "variables", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(terminal, variables, expected, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert wants_colour(stream) is expected


def test_a_line_is_filled_to_its_last_column():
    """A label of six columns, then each word with a space behind it."""
    aligned = align_words("ab cd e", "ab cd e")
    assert format_alignment(aligned, colour=False, width=14).splitlines() == [
        "ref   ab cd e",
        "hyp   ab cd e",
    ]
    assert format_alignment(aligned, colour=False, width=13).splitlines() == [
        "ref   ab cd",
        "hyp   ab cd",
        "ref   e",
        "hyp   e",
    ]
    assert format_alignment(align_words("abcdefgh", "ab"), colour=False, width=9).splitlines() == [
        "ref   abcdefgh",
        "hyp   ab",
        "      S",
    ], "a word that is wider than the line stands alone"
    assert len(format_alignment(align_words("a " * 99, "a " * 99), colour=False).splitlines()[0]) == 119


def test_kinds_have_their_colours_and_gaps_have_the_width_of_the_word():
    assert format_alignment(align_words("uno dos", "dos"), colour=True).splitlines() == [
        "ref   \033[31muno\033[0m dos",
        "hyp   \033[31m***\033[0m dos",
        "      D",
    ]
    assert format_alignment(align_words("dos", "dos tres"), colour=True).splitlines() == [
        "ref   dos \033[34m****\033[0m",
        "hyp   dos \033[34mtres\033[0m",
        "          I",
    ]


def test_the_width_is_the_terminals_else_120(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width() == 77
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError))
    assert terminal_width() == 120


@pytest.mark.parametrize(
    ("character", "width"), [("a", 1), ("\u20dd", 0), ("\u200d", 0), ("Ａ", 2), ("ｱ", 1), ("が", 2)]
)
def test_columns_of_a_character(character, width):
    assert display_width(character) == width
