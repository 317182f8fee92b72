"""Phrases as LIFT, the form in which dictionaries go between FLEx, The Combine and WeSay (version 0.13).

A named phrase is an entry with its name as the citation form; its clips are media of its pronunciations. LIFT knows no
media of a meaning: FLEx and WeSay keep a recorded one as a form of the definition whose language ends in
``-Zxxx-x-audio``, and whose text is the file's name. Media lie in a folder ``audio`` beside the file.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from core.errors import UserError
from core.files import write_atomically
from core.hashing import hash_content
from core.records import Phrase
from phrases.describe import title_of

VERSION = "0.13"
UNKNOWN_LANGUAGE = "qaa"  # BCP 47: for private use
SPOKEN = "Zxxx-x-audio"  # BCP 47: not written
NAMESPACE = uuid.UUID("3f1c2c5e-7a55-4f0e-9c5c-6d0b6a3f8e21")


def write_lift(
    path: Path,
    phrases: Sequence[Phrase],
    clips: Mapping[str, Sequence[str]],
    meanings: Mapping[str, str],
    *,
    language: str,
    gloss_language: str,
) -> None:
    """``path`` with an entry a phrase.

    clips, meanings: label -> files, or the recorded meaning's file, in the folder ``audio``. Languages: BCP 47 tags.
    """
    root = ElementTree.Element("lift", version=VERSION, producer="oral-units")
    ElementTree.SubElement(root, "header")
    for phrase in phrases:
        entry = _add_entry(root, phrase, clips.get(phrase["label"], ()), language)
        _add_sense(entry, phrase, meanings.get(phrase["label"]), gloss_language)
    ElementTree.indent(root)
    tree = ElementTree.ElementTree(root)
    write_atomically(path, lambda temporary: tree.write(temporary, encoding="utf-8", xml_declaration=True))


def check_code(flag: str, code: str) -> None:
    """UserError for what cannot be a language's code (BCP 47): FLEx would refuse the whole file."""
    if not re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", code):
        raise UserError(f"{flag} '{code}': expected a language's code, such as gn, es or qaa-x-ava")


def entry_id(phrase: Phrase) -> str:
    """A number that stays the same while the phrase keeps its name, or its most typical occurrence."""
    first = phrase["occurrences"][0]
    what = phrase["name"] or f"{first['id']} {first['audio_start']:.1f}"
    return str(uuid.uuid5(NAMESPACE, hash_content(f"{what}\t{phrase['gloss']}".encode())))


def _add_entry(root: ElementTree.Element, phrase: Phrase, clips: Sequence[str], language: str) -> ElementTree.Element:
    identity = entry_id(phrase)
    entry = ElementTree.SubElement(root, "entry", id=f"{_clean(title_of(phrase))}_{identity}", guid=identity)
    for kind in ("lexical-unit", "citation"):
        _add_form(ElementTree.SubElement(entry, kind), language, title_of(phrase))
    for clip in clips:
        spoken = ElementTree.SubElement(entry, "pronunciation")
        ElementTree.SubElement(spoken, "media", href=clip)
    note = ElementTree.SubElement(entry, "note", type="occurrences")
    _add_form(note, "en", describe_counts(phrase))
    return entry


def describe_counts(phrase: Phrase) -> str:
    """``3 occurrences in 1 recording by 2 speakers``; without the speakers where nobody has named them."""
    counts = [
        f"{phrase[f'n_{name}s']} {name}{'' if phrase[f'n_{name}s'] == 1 else 's'}"
        for name in ("occurrence", "recording", "speaker")
    ]
    return f"{counts[0]} in {counts[1]}{f' by {counts[2]}' if phrase['n_speakers'] else ''}"


def _add_sense(entry: ElementTree.Element, phrase: Phrase, spoken: str | None, gloss_language: str) -> None:
    """What it means, as it is written and as it is said; empty where neither is known."""
    sense = ElementTree.SubElement(entry, "sense", id=f"sense_{entry.get('guid')}")
    if phrase["gloss"]:
        gloss = ElementTree.SubElement(sense, "gloss", lang=gloss_language)
        ElementTree.SubElement(gloss, "text").text = _clean(phrase["gloss"])
    if spoken:
        _add_form(ElementTree.SubElement(sense, "definition"), f"{gloss_language}-{SPOKEN}", spoken)


def _add_form(parent: ElementTree.Element, language: str, text: str) -> None:
    form = ElementTree.SubElement(parent, "form", lang=language)
    ElementTree.SubElement(form, "text").text = _clean(text)


def _clean(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable())
