"""Text in any script brought to one form, for scores and labels."""

import functools
import re
import unicodedata

# An apostrophe between letters is a letter in many orthographies (a glottal stop): its variants become one and stay.
APOSTROPHES = "'’ʼʻ‘`´′"
APOSTROPHE = re.compile(f"[{APOSTROPHES}]")


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, single spaces, in any script.

    NFKC, Unicode case folding; letters, marks and digits stay, an apostrophe between letters too; everything else
    (punctuation, symbols, hyphens) becomes a space; spaces are single, none at either end.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    characters = list(map(_letter_or_space, text))
    for match in APOSTROPHE.finditer(text):
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        characters[match.start()] = "'" if _is_letter(before) and _is_letter(after) else " "
    return " ".join("".join(characters).split())


@functools.cache
def _letter_or_space(character: str) -> str:
    return character if unicodedata.category(character)[0] in "LMN" else " "


def _is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LM" and character not in APOSTROPHES
