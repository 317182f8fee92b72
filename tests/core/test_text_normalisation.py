"""Words of many orthographies: one word stays one, and what they write with is kept."""

import random

import pytest

from core.text_normalisation import drop_quotations, normalise_text
from evaluation.text_errors import load_normaliser
from speech_llm.characters import find_characters, text_labels

ONE_WORD = {
    "Sinhala, joiner": ("ශ්\u200dරී", "ශ්\u200dරී"),
    "Persian, non-joiner": ("می\u200cخواهم", "می\u200cخواهم"),
    "Malayalam, joiner at the end": ("ന്\u200d", "ന്\u200d"),
    "Mongolian, vowel separator": ("ᠠᠷᠢᠭ\u180eᠠ", "ᠠᠷᠢᠭ\u180eᠠ"),
    "German, non-joiner against a ligature": ("Auf\u200clage", "auflage"),
    "soft hyphen": ("comu\u00adnidade", "comunidade"),
    "direction": ("\u200eabc\u200f", "abc"),
    "Hebrew, geresh": ("ג\u05f3ורג", "ג'ורג"),
    "Hebrew, gershayim": ("צה\u05f4ל", "צה\u05f4ל"),
    "Hebrew, quotation mark for gershayim": ('צה"ל', "צה\u05f4ל"),
    "Catalan": ("col\u00b7legi", "col\u00b7legi"),
    "Catalan, the letter": ("co\u0140legi", "col\u00b7legi"),
    "Mohawk, length": ("Í:ken", "í:ken"),
    "Armenian, question": ("Ինչո՞ւ", "ինչու"),
    "Turkish": ("İstanbul", "istanbul"),
    "Afrikaans": ("ŉ", "ʼn"),
    "acute for an apostrophe": ("so´o", "so'o"),
    "Ethiopic": ("ሰላም፤", "ሰላም"),
    "Devanagari": ("हिन्दी।", "हिन्दी"),
    "Thai": ("สวัสดีๆ", "สวัสดีๆ"),
    "Lisu, tone": ("ꓡꓲꓢꓴꓸ", "ꓡꓲꓢꓴꓸ"),
    "IPA": ("ˈʔa˩ɡʷ", "ˈʔa˩ɡw"),
    "marks that compose with nothing": ("ɔ̃'ɔ̃", "ɔ̃'ɔ̃"),
}


@pytest.mark.parametrize("name", ONE_WORD)
def test_one_word_stays_one(name: str) -> None:
    text, expected = ONE_WORD[name]
    assert normalise_text(text) == expected and len(expected.split()) == 1
    assert normalise_text(expected) == expected


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("na\u02bc", "na", False),
        ("wak\u2019", "wak", False),
        ("wak'", "wak", False),
        ("\u02bbai", "ai", False),
        ("\u2018ai", "ai", False),
        ("ma˥", "ma˩", False),
        ("ma\ua78a", "ma", False),
        ("so\ua78co", "so\u2019o", True),
        ("SO\ua78bO", "so'o", True),
        ("wak\u2019", "wak\u02bc", True),
        ("na\u02bc, ma", "na' ma", True),
        ("\u02bbai", "'ai", True),
        ("a\u0301", "á", True),
    ],
)
def test_what_counts_as_the_same(first: str, second: str, same: bool) -> None:
    for normalise in (normalise_text, load_normaliser("unicode")):
        assert (normalise(first) == normalise(second)) == same
    characters = find_characters([first, second])
    assert (text_labels(first, characters).tolist() == text_labels(second, characters).tolist()) == same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dijo ‘hola’, y", "dijo hola y"),
        ("dijo: ‘No me voy’.", "dijo no me voy"),
        ("‘wak’’ dijo", "wak' dijo"),
        ("dijo 'hola' y 'no me voy'.", "dijo hola y no me voy"),
        ("`uno' ‚zwei‘ ‘¿tres?’", "uno zwei tres"),
        ("ko'a 'i wak' na'", "ko'a ʼi wak' na'"),
        ("’i wak’", "ʼi wak'"),
        ("wak’ y na’", "wak' y na'"),
        ("‘ai wak", "ʼai wak"),
        ("''hola'' ‘‘uno’’", "hola uno"),
        ("O’Higgins: ‘¡Viva!’", "o'higgins viva"),
        ("the 80's, ’90s, 5'", "the 80 s 90s 5"),
    ],
)
def test_quotation_marks_are_told_from_apostrophes(text: str, expected: str) -> None:
    assert normalise_text(text) == expected
    assert normalise_text(expected) == expected


def test_words_that_are_quoted_are_as_many_without_their_marks() -> None:
    text = "dijo (‘hola’) y 'no me voy' - ‘a b’."
    assert drop_quotations(text) == "dijo (hola) y no me voy - a b."


def test_what_parts_words_and_what_goes() -> None:
    assert normalise_text("列夫·托尔斯泰 他说：你好") == "列夫 托尔斯泰 他说 你好"
    assert normalise_text("3.5 a.m. uno-dos a_b ❤\ufe0f \u0301 x \u25cc\u093f") == "3 5 a m uno dos a b x"
    assert normalise_text("λόγος· ἕν") == "λόγος ἕν".replace("ς", "σ")


def test_a_normalised_text_stays_as_it_is() -> None:
    draw = random.Random(5)
    letters = "aẽ\u0303 b'’ʼ‘ʻꞌ´`\u200c\u200d·:3.-\"״אبක්\u00ad\u05f3˥"
    for _ in range(5000):
        text = "".join(draw.choices(letters, k=draw.randint(1, 12)))
        assert normalise_text(normalise_text(text)) == normalise_text(text), ascii(text)
