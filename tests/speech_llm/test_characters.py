import pytest

from core.errors import UserError
from speech_llm.characters import (
    choose_apostrophe,
    choose_characters,
    choose_text_form,
    find_characters,
    text_labels,
    write_apostrophes,
)


def test_characters_are_those_of_the_normalised_texts() -> None:
    assert find_characters(["Ñandú, ¡sí!", "sí"]) == " adnsíñú"


def test_a_pretrained_head_is_kept_where_it_can_spell_the_texts() -> None:
    assert choose_characters(["ab"], " abc") == " abc"
    assert choose_characters(["abd"], " abc") == "abd"
    with pytest.raises(UserError, match="transcripts with letters"):
        choose_characters(["…"], " abc")


def test_labels_are_rows_after_the_blank_and_unknown_characters_are_left_out() -> None:
    assert text_labels("B-ax", " ab").tolist() == [3, 1, 2]


def test_transcripts_keep_their_unicode_form():
    assert choose_text_form(["ab", "\u1ebd"]) == "NFC" and choose_text_form(["ab", "g\u0303"]) == "NFC"
    assert choose_text_form(["ab", "e\u0303"]) == "NFD" and choose_text_form(["e\u0303", "\u1ebd"]) == "NFC"


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["waku ʼi", "it's", "ʼa"], "ʼ"),
        (["l’eau", "‘ein Wort’ und ‘noch’ eins"], "’"),  # quotation marks do not count
        (["haŋal"], "'"),
        (["ꞌa saltillo", "ꞌe"], "ꞌ"),
    ],
)
def test_the_mark_of_the_texts_is_what_is_written(texts: list[str], mark: str) -> None:
    assert choose_apostrophe(texts) == mark
    assert write_apostrophes("ʼa k'e", mark) == f"{mark}a k{mark}e"
