"""Text in any script brought to one form, for scores and labels."""

import functools
import re
import unicodedata

APOSTROPHES = "'’ʼʻ‘`´′"


APOSTROPHE = re.compile(f"[{APOSTROPHES}]")


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, single spaces, in any script.

    NFKC, Unicode case folding; letters, marks and digits stay, an apostrophe between letters too; everything else
    (punctuation, symbols, hyphens) becomes a space; spaces are single, none at either end.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = list(map(_keep, text))
    for match in APOSTROPHE.finditer(text):
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        kept[match.start()] = "'" if _is_letter(before) and _is_letter(after) else " "
    return " ".join("".join(kept).split())


@functools.cache
def _keep(character: str) -> str:
    return character if unicodedata.category(character)[0] in "LMN" else " "


def _is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LM" and character not in APOSTROPHES
