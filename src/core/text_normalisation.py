"""Text in any script brought to one form, for scores and labels: one rule for both.

Words follow Unicode's segmentation (UAX 29) but for two places: full stops and underlines part words, as speech has
none. What an orthography writes with is kept at the edges of words too.
"""

import functools
import re
import unicodedata

# Letters by Unicode: modifier apostrophe, ʻokina, saltillo (small, capital), Armenian apostrophe, Hebrew geresh.
LETTER_APOSTROPHES = "ʼʻꞌꞋ՚׳"
OPENING, CLOSING = "‘`‛‚", "’´′"
APOSTROPHES = "'" + OPENING[:-1] + CLOSING + LETTER_APOSTROPHES
MARKS = re.compile(f"['{OPENING}{CLOSING}]+")
# NFKC would make a space and an accent of the acute.
ONE_APOSTROPHE = {ord(mark): "'" for mark in "‘`‛’´′"} | {ord(mark): "ʼ" for mark in LETTER_APOSTROPHES}
# What is not heard and does not part a word: soft hyphen, directions, variants, Armenian marks above a vowel.
UNHEARD = (0xAD, 0x34F, 0x61C, 0xFEFF, 0x55B, 0x55C, 0x55E, 0x55F, *range(0x200E, 0x2010), *range(0x202A, 0x202F))
UNHEARD = dict.fromkeys((*UNHEARD, *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
# May stand inside a word: apostrophes, joiners, the dot of l·l, a colon, gershayim or what is typed for it.
JOINERS = "\u200c\u200d\u180e"  # ZWNJ, ZWJ, Mongolian vowel separator
JOINER_RUN = re.compile(f"[{JOINERS}]+")
INNER = re.compile("['ʼ]+|[:·‧∙⋅]|[\"”״]")
TONE_LETTERS = re.compile("[\u02c2-\u02ff\ua700-\ua721\ua789\ua78a\uab5b-\uab6b]")
HEBREW = re.compile("[\u0591-\u05f2]")


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, single spaces, in any script; a normalised text stays as it is.

    NFKC, Unicode case folding. Letters, marks, digits, modifier and tone letters stay. Inside a word these stay too:
    joiners of scripts that need them (ZWJ, ZWNJ), the dot of l·l, the colon of í:ken, gershayim. Soft hyphens and marks
    of direction or variant go, and the word stays one. Everything else (punctuation, hyphens) becomes a space.

    All apostrophes, the geresh, the ʻokina and the saltillo are one letter, also at the edge of a word: ``'`` inside
    and at the end, ``ʼ`` at the start. Single quotation marks go first, see ``drop_quotations``.
    """
    text = drop_quotations(text.translate(UNHEARD)).translate(ONE_APOSTROPHE)
    text = unicodedata.normalize("NFKC", text).replace("İ", "i")  # its folding would leave a dot that no i has
    text = _drop_lone_marks(unicodedata.normalize("NFKC", text.casefold()))
    text = JOINER_RUN.sub(lambda run: _joiner(run[0], *_neighbours(run)), text)
    characters = list(map(_letter_or_space, text))
    for match in INNER.finditer(text):
        start, end = match.span()
        characters[start:end] = [_inside_word(match[0], *_neighbours(match))] + [""] * (end - start - 1)
    return " ".join("".join(characters).split())


def drop_quotations(text: str) -> str:
    """The text without its single quotation marks, as far as they can be told from apostrophes.

    ``‘`` at the start of a word and the next ``’`` at the end of one are a quotation of one or several words, and so
    are ``‚…‘`` and ```…'``. ``'`` around one word are quotation marks; around several they are where all ``'`` at edges
    of words pair up: "'i wak' na'" has three, so all are letters. ``’`` does not open: in "’i wak’" both are letters.
    Marks that stand two together are double quotation marks; but in "‘wak’’" the first is a letter.
    """
    if not any(mark in text for mark in f"'{OPENING}"):
        return text
    marks = [match.span() for match in MARKS.finditer(text)]
    pairs = _pair_marks(text, marks, OPENING, CLOSING + "'‘") + _pair_straight(text, marks)
    dropped = {place for pair in pairs for place in pair}
    return "".join(character for place, character in enumerate(text) if place not in dropped)


def _pair_marks(text: str, marks: list[tuple[int, int]], opening: str, closing: str) -> list[tuple[int, int]]:
    """Places of the marks that open and that close each quotation."""
    pairs, opened = [], None
    for start, end in marks:
        before, after = text[:start][-1:], text[end : end + 1]
        if end - start == 1 and text[start] in opening and not _is_word(before) and after.strip():
            opened = start
        elif opened is not None and before.strip() and not _is_word(after) and text[end - 1] in closing:
            pairs.append((opened, end - 1))
            opened = None
    return pairs


def _pair_straight(text: str, marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    edges = [span for span in marks if text[slice(*span)] == "'" and not _is_inside(text, *span)]
    pairs = _pair_marks(text, edges, "'", "'")
    if 2 * len(pairs) == len(edges):
        return pairs
    return [(start, end) for start, end in pairs if len(text[start:end].split()) == 1]


def _is_inside(text: str, start: int, end: int) -> bool:
    return _is_word(text[:start][-1:]) and _is_word(text[end : end + 1])


def _neighbours(match: re.Match) -> tuple[str, str]:
    """The characters before and after; "" at an end of the text."""
    start, end = match.span()
    return match.string[max(0, start - 1) : start], match.string[end : end + 1]


def _inside_word(mark: str, before: str, after: str) -> str:
    """What becomes of a mark between two characters: a letter or a space."""
    inside = _is_letter(before) and _is_letter(after)
    if mark[0] in "'ʼ":
        return _apostrophe(mark, before, after)
    if mark in '"”״':
        return "״" if HEBREW.match(before) and HEBREW.match(after) else " "
    parts = not inside or _is_wide(before) or _is_wide(after)  # 列夫·托尔斯泰 is two names
    return " " if parts else ":" if mark == ":" else "·"


def _joiner(run: str, before: str, after: str) -> str:
    """UAX 31: behind a virama, and between letters of scripts that join; no script with capitals needs one."""
    inside = _is_letter(before) and _is_letter(after)
    needed = inside and not (_is_cased(before) and _is_cased(after))
    return run[0] if needed or unicodedata.combining(before or " ") == 9 else ""


def _apostrophe(mark: str, before: str, after: str) -> str:
    if len(mark) > 1 and "ʼ" not in mark:
        return " "  # two together: a double quotation mark
    if _is_letter(before):
        return " " if _is_word(after) and not _is_letter(after) else "'"
    return "ʼ" if _is_letter(after) and not _is_word(before) else " "


def _drop_lone_marks(text: str) -> str:
    """The text without marks and joiners on nothing, as they are left behind a symbol (◌)."""
    if not any(map(_is_carried, text)):
        return text
    kept: list[str] = []
    for character in text:
        before = kept[-1] if kept else " "
        carries = _is_word(before) and before not in APOSTROPHES or before in JOINERS
        if carries or not _is_carried(character):
            kept.append(character)
    return "".join(kept)


@functools.cache
def _is_carried(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in JOINERS


@functools.cache
def _letter_or_space(character: str) -> str:
    return character if _is_word(character) or character in JOINERS else " "


@functools.cache
def _is_letter(character: str) -> bool:
    if not character or character in APOSTROPHES:
        return False
    kind = unicodedata.category(character)
    return kind[0] in "LM" or (kind == "Sk" and TONE_LETTERS.match(character) is not None)


@functools.cache
def _is_word(character: str) -> bool:
    return _is_letter(character) or bool(character) and unicodedata.category(character)[0] in "LN"


def _is_cased(character: str) -> bool:
    return character.lower() != character.upper()


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
