"""The characters that a CTC head is taught, and texts as rows of it."""

import unicodedata
from collections.abc import Sequence

import torch

from core.errors import UserError
from core.text_normalisation import APOSTROPHES, drop_quotations, normalise_text


def find_characters(texts: Sequence[str]) -> str:
    """The characters of the normalised texts, sorted: what a CTC head is taught."""
    return "".join(sorted({character for text in texts for character in normalise_text(text)}))


def choose_characters(texts: Sequence[str], pretrained: str = "", own: str | None = None) -> str:
    """Those of the ``pretrained`` head where they spell the new texts too, else the texts' own.

    own: of ``find_characters``, where they are known.
    """
    own = find_characters(texts) if own is None else own
    if not own:
        raise UserError("expected transcripts with letters to train on, found none")
    return pretrained if set(own) <= set(pretrained) else own


def choose_text_form(texts: Sequence[str]) -> str:
    """The Unicode form that the texts are written in: NFD where letters and marks stand apart in all, else NFC."""
    composed = all(unicodedata.is_normalized("NFC", text) for text in texts)
    return "NFD" if not composed and all(unicodedata.is_normalized("NFD", text) for text in texts) else "NFC"


def choose_apostrophe(texts: Sequence[str]) -> str:
    """The mark that the texts write an apostrophe, a glottal stop or the like with: their commonest; "'" where none is.

    A CTC head has one character for all of them (core.text_normalisation).
    """
    plain = [drop_quotations(text) for text in texts if any(mark in text for mark in APOSTROPHES)]
    counts = {mark: sum(text.count(mark) for text in plain) for mark in APOSTROPHES}
    return max(counts, key=counts.__getitem__)


def write_apostrophes(text: str, mark: str) -> str:
    """A normalised text with ``mark`` for each apostrophe."""
    return text.replace("'", mark).replace("ʼ", mark)


def text_labels(text: str, characters: str) -> torch.Tensor:
    """(characters,) int64 rows of the CTC head; characters it does not know are left out."""
    rows = {character: row for row, character in enumerate(characters, 1)}
    return torch.tensor([rows[c] for c in normalise_text(text) if c in rows], dtype=torch.long)
