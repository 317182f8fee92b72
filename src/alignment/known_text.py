"""A text that somebody reads aloud: its lines with their names, and the letters of each word that a recogniser knows.

Read are plain lines, lines with a verse number or a name before them, and USFM, the format of Bible translations.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.tables import read_text
from core.text_normalisation import normalise_text

# A verse as people number it: 12, 3:12, 12-13, 12a, with or without a full stop or a bracket.
NUMBERED = re.compile(r"\s*[\[(]?(\d+(?:[:.]\d+)?(?:[-–]\d+)?[a-z]?)[\])]?[.:)]?[\s\u00a0]+(?=\S)")
LEAST_NUMBERED = 0.6  # of the lines: numbers before fewer lines are words of the text
BOOK = re.compile(r"\\id\s+(\S+)")
# Notes, cross-references, pictures: nobody reads them aloud. Attributes stand behind | in a word's marker.
NOTE = re.compile(r"\\(f|fe|x|ef|fig|rq|esb)\s.*?\\\1(?:\*|e\b)", re.DOTALL)
ATTRIBUTES = re.compile(r"\|[^\\]*(?=\\\+?[a-z0-9]+\*)")
CHARACTER_STYLE = re.compile(r"\\\+?[a-z]+\d*\*")
MARKER = re.compile(r"\\(\+?[a-z]+\d*)(?:-[se])?(?:\s+|$)")
NUMBER_MARKERS = {"c", "v"}
HEADINGS = re.compile(r"(mt|mte|ms|s|sr|r|d|sp|imt|is|cl|cd|qa)\d*$")
UNSPOKEN = re.compile(r"(id|ide|h|toc|toca|rem|sts|usfm|cp|ca|va|vp|ip|io|im|ior|iot|ie|restore|lit)\d*$")
STYLES = {"add", "nd", "wj", "qs", "qt", "tl", "bk", "k", "pn", "w", "em", "it", "bd", "sc", "no", "sig", "ord", "dc"}
# Scripts that write no spaces between words: each of their letters stands for itself.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)


DOCUMENTS = {".doc", ".docx", ".odt", ".pdf", ".rtf", ".pages", ".html", ".htm"}
ANY_SOUND = "#"  # stands for the letters of a word with digits, which may be read in many ways


class TextLine(NamedTuple):
    """A line or verse."""

    name: str  # "MAT 3:12", "12", or the number of the line
    text: str  # as it is written, without number and marks
    heading: str = ""  # what stands above it, where it is the first below a heading


class SpokenWord(NamedTuple):
    """A word, or a letter of a script without spaces, with what the recogniser can hear of it."""

    text: str
    line: int  # row of its line
    letters: str  # those that the recogniser knows, or ANY_SOUND; never empty


class SpokenText(NamedTuple):
    """All words of a text in order."""

    lines: list[TextLine]
    words: list[SpokenWord]
    unknown: Counter[str]  # letters that the recogniser does not know, and how often
    n_numbers: int  # words with digits


def read_lines(path: Path, *, spoken_headings: bool = False) -> list[TextLine]:
    """The lines of a text or USFM file, without empty ones; UserError where there is none.

    spoken_headings: headings are lines of their own, since they are read aloud.
    """
    if path.suffix.lower() in DOCUMENTS:
        raise UserError(f"{path}: expected plain text or USFM, found a document; save it as plain text, in UTF-8")
    content = read_text(path)
    lines = parse_usfm(content, spoken_headings) if is_usfm(content) else parse_plain(content, spoken_headings)
    if not any(normalise_text(line.text) for line in lines):
        raise UserError(f"{path}: expected the text of a recording, found no words in it")
    return lines


def is_usfm(content: str) -> bool:
    return bool(re.search(r"^\s*\\(id|c|v|p)\b", content, re.MULTILINE)) and "\\v " in content


def parse_plain(content: str, spoken_headings: bool = False) -> list[TextLine]:
    """A line each. A name may stand before a tab, a verse number before the text; ``#`` begins a heading."""
    found, heading = [], ""
    rows = [row.strip() for row in content.lstrip("\ufeff").splitlines() if row.strip()]
    spoken = [row for row in rows if not row.startswith("#")]
    named = bool(spoken) and all(row.count("\t") == 1 for row in spoken)
    numbered = sum(bool(NUMBERED.match(row)) for row in spoken) >= max(1, LEAST_NUMBERED * len(spoken))
    for number, row in enumerate(rows, 1):
        name, text = str(len(found) + 1), row
        if row.startswith("#"):
            heading = row.lstrip("# ").strip()
            if spoken_headings and heading:
                found.append(TextLine(f"heading {number}", heading))
            continue
        if named:
            name, text = (part.strip() for part in row.split("\t"))
        elif numbered and (match := NUMBERED.match(row)):
            name, text = match[1], row[match.end() :]
        found.append(TextLine(name, " ".join(text.split()), heading))
        heading = ""
    return found


def parse_usfm(content: str, spoken_headings: bool = False) -> list[TextLine]:
    """Verses, called ``BOOK chapter:verse``. Notes are left out, and headings too unless they are spoken."""
    book = (BOOK.search(content) or [None, ""])[1]
    content = ATTRIBUTES.sub("", NOTE.sub(" ", content))
    content = CHARACTER_STYLE.sub("", content)
    found: list[TextLine] = []
    chapter, heading, target = "", "", None
    for marker, part in _marked_parts(content):
        number, _, text = part.partition(" ") if marker in NUMBER_MARKERS else ("", "", part)
        if number:
            if marker == "c":
                chapter, target = number, None
                continue
            found.append(TextLine(_verse_name(book, chapter, number), text.strip(), heading))
            heading, target = "", len(found) - 1
        elif HEADINGS.match(marker):
            heading = " ".join(filter(None, (heading, text)))
            if spoken_headings and text:
                found.append(TextLine(f"{_verse_name(book, chapter, '')} {marker}".strip(), text))
            # What follows a heading within a verse still belongs to the verse.
        elif not UNSPOKEN.match(marker) and text and target is not None:
            found[target] = found[target]._replace(text=f"{found[target].text} {text}".strip())
    return [line for line in found if line.text]


def _verse_name(book: str, chapter: str, verse: str) -> str:
    return " ".join(filter(None, (book, ":".join(filter(None, (chapter, verse))))))


def _marked_parts(content: str) -> list[tuple[str, str]]:
    """(marker, text up to the next one); markers of words within a sentence are no parts of their own."""
    places = [match for match in MARKER.finditer(content)]
    parts: list[tuple[str, str]] = []
    for match, following in zip(places, [*places[1:], None]):
        text = " ".join(content[match.end() : following.start() if following else None].split())
        marker = match[1].lstrip("+")
        if marker.rstrip("0123456789") in STYLES and parts:
            parts[-1] = (parts[-1][0], f"{parts[-1][1]} {text}".strip())
        else:
            parts.append((marker, text))
    return parts


def spell_lines(lines: Sequence[TextLine], hear: Callable[[str], str]) -> SpokenText:
    """The words of ``lines``; ``hear`` gives the letters of a normalised text that the recogniser knows.

    A word with digits may sound like anything. What has no such letters (a dash) stands with its neighbour.
    """
    words: list[SpokenWord] = []
    unknown: Counter[str] = Counter()
    n_numbers = 0
    for number, line in enumerate(lines):
        waiting, begins = "", len(words)
        for piece, glue in split_words(line.text):
            plain = normalise_text(piece)
            is_number = any(letter.isdigit() for letter in plain)
            n_numbers += is_number
            letters = ANY_SOUND if is_number else hear(plain)
            unknown.update(letter for letter in plain if letter != " " and not is_number and not hear(letter))
            if letters:
                words.append(SpokenWord(waiting + piece, number, letters))
                waiting = ""
            elif len(words) > begins:
                words[-1] = words[-1]._replace(text=f"{words[-1].text}{glue}{piece}")
            else:
                waiting += f"{piece} "
    return SpokenText(list(lines), words, unknown, n_numbers)


def split_words(text: str) -> list[tuple[str, str]]:
    """(word, what stands between it and the word before: a space or nothing)."""
    found = []
    for word in text.split():
        glue = " "
        for piece in split_unspaced(word):
            found.append((piece, glue))
            glue = ""
    return found


def split_unspaced(word: str) -> list[str]:
    """Letters of scripts without spaces one by one, each with the marks on it; all else stays together."""
    if not UNSPACED.search(word):
        return [word]
    pieces: list[str] = []
    for letter in word:
        alone = UNSPACED.match(letter) and unicodedata.category(letter)[0] != "M"
        joins = pieces and not alone and (unicodedata.category(letter)[0] == "M" or not UNSPACED.match(pieces[-1][0]))
        if joins:
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces


def hear_letters(characters: str) -> Callable[[str], str]:
    """For ``spell_lines``: the letters of a recogniser with these ``characters``; é is e where it knows no é."""
    known = set(characters) - {" "}

    def hear(text: str) -> str:
        heard = []
        for letter in text:
            plain = letter if letter in known else unicodedata.normalize("NFD", letter)[0]
            if plain in known:
                heard.append(plain)
        return "".join(heard)

    return hear
