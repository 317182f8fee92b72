"""Phrases as LIFT, the form in which dictionaries go between FLEx, The Combine and WeSay (version 0.13).

A named phrase is an entry with its name as the citation form; its clips are media of its pronunciations. LIFT keeps
media in a folder ``audio`` beside the file.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from core.files import write_atomically
from core.hashing import hash_content
from core.records import Phrase
from phrases.describe import title_of

VERSION = "0.13"
UNKNOWN_LANGUAGE = "qaa"  # BCP 47: for private use
NAMESPACE = uuid.UUID("3f1c2c5e-7a55-4f0e-9c5c-6d0b6a3f8e21")


def write_lift(
    path: Path, phrases: Sequence[Phrase], clips: Mapping[str, Sequence[str]], *, language: str, gloss_language: str
) -> None:
    """``path`` with an entry a phrase. clips: label -> files in the folder ``audio``. Languages: BCP 47 tags."""
    root = ElementTree.Element("lift", version=VERSION, producer="oral-units")
    ElementTree.SubElement(root, "header")
    for phrase in phrases:
        _add_entry(root, phrase, clips.get(phrase["label"], ()), language, gloss_language)
    ElementTree.indent(root)
    tree = ElementTree.ElementTree(root)
    write_atomically(path, lambda temporary: tree.write(temporary, encoding="utf-8", xml_declaration=True))


def entry_id(phrase: Phrase) -> str:
    """A number that stays the same while the phrase keeps its name, or its most typical occurrence."""
    first = phrase["occurrences"][0]
    what = phrase["name"] or f"{first['id']} {first['audio_start']:.1f}"
    return str(uuid.uuid5(NAMESPACE, hash_content(f"{what}\t{phrase['gloss']}".encode())))


def _add_entry(
    root: ElementTree.Element, phrase: Phrase, clips: Sequence[str], language: str, gloss_language: str
) -> None:
    identity = entry_id(phrase)
    entry = ElementTree.SubElement(root, "entry", id=f"{_clean(title_of(phrase))}_{identity}", guid=identity)
    for kind in ("lexical-unit", "citation"):
        _add_form(ElementTree.SubElement(entry, kind), language, title_of(phrase))
    for clip in clips:
        spoken = ElementTree.SubElement(entry, "pronunciation")
        ElementTree.SubElement(spoken, "media", href=clip)
    note = ElementTree.SubElement(entry, "note", type="occurrences")
    n_places, n_recordings, n_speakers = (phrase[f"n_{name}"] for name in ("occurrences", "recordings", "speakers"))
    _add_form(note, "en", f"{n_places} occurrences in {n_recordings} recordings by {n_speakers} speakers")
    sense = ElementTree.SubElement(entry, "sense", id=f"sense_{identity}")
    if phrase["gloss"]:
        gloss = ElementTree.SubElement(sense, "gloss", lang=gloss_language)
        ElementTree.SubElement(gloss, "text").text = _clean(phrase["gloss"])


def _add_form(parent: ElementTree.Element, language: str, text: str) -> None:
    form = ElementTree.SubElement(parent, "form", lang=language)
    ElementTree.SubElement(form, "text").text = _clean(text)


def _clean(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable())
