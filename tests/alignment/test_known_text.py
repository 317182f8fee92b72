"""Lines and words of known texts: plain, numbered, USFM; scripts without spaces; letters that nobody knows."""

import unicodedata

import pytest

from alignment.known_text import ANY_SOUND, hear_letters, parse_plain, parse_usfm, read_lines, spell_lines, split_words
from core.errors import UserError

USFM = r"""\id MRK Example
\h Mark
\toc1 The Gospel of Mark
\mt1 Mark
\c 1
\s1 The preaching of John
\p
\v 1 The beginning of the \add good\add* news\f + \ft A note.\f*,
\v 2-3 as it is \w written|lemma="write"\w* \x - \xo 1:2 \xt Mal 3.1\x* in the book:
\q1 “Look,
\q2 here he is.”
\c 2
\v 1 He came \nd Lord\nd* home.
"""


def test_usfm_gives_verses_without_notes_and_headings() -> None:
    lines = parse_usfm(USFM)
    assert [(line.name, line.text) for line in lines] == [
        ("MRK 1:1", "The beginning of the good news ,"),
        ("MRK 1:2-3", "as it is written in the book: “Look, here he is.”"),
        ("MRK 2:1", "He came Lord home."),
    ]
    assert lines[0].heading == "Mark The preaching of John" and lines[1].heading == ""


def test_headings_that_are_read_aloud_are_lines() -> None:
    names = [line.name for line in parse_usfm(USFM, spoken_headings=True)]
    assert names == ["MRK mt1", "MRK 1 s1", "MRK 1:1", "MRK 1:2-3", "MRK 2:1"]
    spoken = parse_plain("# One\na b\n", spoken_headings=True)
    assert [line.text for line in spoken] == ["One", "a b"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("1 In the beginning\n2. And it was\n3:4 so\n", ["1", "2", "3:4"]),
        ("[12] one\n13-14 two\n", ["12", "13-14"]),
        ("3 dogs ran\nand a cat\nand more\n", ["1", "2", "3"]),
        ("a\tone\nb\ttwo\n", ["a", "b"]),
    ],
)
def test_numbers_before_most_lines_are_their_names(content: str, names: list[str]) -> None:
    assert [line.name for line in parse_plain(content)] == names


def test_a_heading_is_kept_with_the_line_below_it() -> None:
    assert [line.heading for line in parse_plain("# The flood\n1 It rained.\n2 Long.\n")] == ["The flood", ""]


def test_a_text_without_words_is_refused(tmp_path) -> None:
    (tmp_path / "x.txt").write_text("…\n\n", encoding="utf-8")
    with pytest.raises(UserError, match="found no words"):
        read_lines(tmp_path / "x.txt")


def test_both_forms_of_unicode_are_the_same_letters() -> None:
    hear = hear_letters("abeéñ'")
    found = [
        [word.letters for word in spell_lines(parse_plain(unicodedata.normalize(form, "é'ñ ẽb")), hear).words]
        for form in ("NFC", "NFD")
    ]
    assert found[0] == found[1] == ["é'ñ", "eb"], "a letter that is not known counts without its mark"


def test_letters_that_are_not_known_and_numbers_are_counted() -> None:
    text = spell_lines(parse_plain("baʔa -- 12 ʔ\n"), hear_letters("ab"))
    assert [word.text for word in text.words] == ["baʔa --", "12 ʔ"]
    assert [word.letters for word in text.words] == ["baa", ANY_SOUND]
    assert text.unknown == {"ʔ": 2} and text.n_numbers == 1


def test_scripts_without_spaces_go_letter_by_letter() -> None:
    assert [piece for piece, _ in split_words("我们 ok。")] == ["我", "们", "ok。"]
    assert [piece for piece, _ in split_words("ลัง")] == ["ลั", "ง"]
    assert [glue for _, glue in split_words("我们")] == [" ", ""]
