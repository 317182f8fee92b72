"""Text compared with text: normalisation, and substitutions, deletions and insertions of characters and words."""

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from core.errors import UserError
from core.files import read_json
from core.text_normalisation import normalise_text

NORMALISERS = ("none", "basic", "english", "unicode")
SPELLING_FILE = "normalizer.json"  # of a Whisper model folder: British spelling -> American


def load_normaliser(name: str, spelling: Path | None = None) -> Callable[[str], str]:
    """The function text -> text that a name of NORMALISERS stands for.

    "none" leaves a text as it is; "unicode" is ``normalise_text``; "basic" and "english" are those of A. Radford et al.
    (2022), "Robust Speech Recognition via Large-Scale Weak Supervision", appendix C, from transformers. The English one
    brings numbers, contractions and titles to one form, and British spelling to American by ``spelling`` (see
    ``find_spelling``) or, with None, not at all.
    """
    if name == "none":
        return str
    if name == "unicode":
        return normalise_text
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if name == "basic":
        return BasicTextNormalizer()
    if name == "english":
        # References and hypotheses are the same text more often than not, and this one takes 0.4 ms.
        return functools.lru_cache(1 << 20)(EnglishTextNormalizer(_read_spelling(spelling)))
    raise ValueError(f"normaliser '{name}': expected one of: {', '.join(NORMALISERS)}")


def find_spelling(given: Path | None) -> Path | None:
    """``given`` (a Whisper model folder, or the file in it), else that of ORAL_UNITS_WHISPER, else None."""
    folder = given or Path(os.environ.get("ORAL_UNITS_WHISPER") or "/nonexistent")
    path = folder / SPELLING_FILE if folder.is_dir() else folder
    if given is not None and not path.is_file():
        raise UserError(f"{path}: expected a Whisper model's {SPELLING_FILE}, found none; leave --spelling out")
    return path if path.is_file() else None


def _read_spelling(path: Path | None) -> dict[str, str]:
    mapping = read_json(path, None) if path else {}
    if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
        raise UserError(f"{path}: expected an object of spellings, as in a Whisper model folder; found something else")
    return mapping


def split_words(text: str) -> list[str]:
    """Words as jiwer's default splits them: at spaces and at runs of white space; none where there is only that."""
    return [word for word in re.sub(r"\s\s+", " ", text).strip().split(" ") if word]


def split_characters(text: str) -> str:
    """The characters that count, as jiwer's default takes them: all but the white space around the text."""
    return text.strip()


class EditCounts(NamedTuple):
    """Edits between a reference and a hypothesis, by kind. In scores.json an object of these keys."""

    substitutions: int
    deletions: int
    insertions: int
    reference: int  # length of the reference, in words or characters


def count_edits(reference: Sequence, hypothesis: Sequence) -> EditCounts:
    """Fewest edits that turn ``reference`` into ``hypothesis`` (Levenshtein distance), by kind.

    Sequences of anything hashable. Several alignments may be equally short: the one that rapidfuzz chooses is counted.
    jiwer takes the same one, so its kinds of edits are the same too (but takes five times as long).
    """
    tags = [edit.tag for edit in Levenshtein.editops(reference, hypothesis)]
    return EditCounts(tags.count("replace"), tags.count("delete"), tags.count("insert"), len(reference))


def count_word_edits(reference: str, hypothesis: str) -> EditCounts:
    return count_edits(split_words(reference), split_words(hypothesis))


def count_character_edits(reference: str, hypothesis: str) -> EditCounts:
    return count_edits(split_characters(reference), split_characters(hypothesis))


def character_distance(reference: str, hypothesis: str) -> int:
    """``total_edits`` of ``count_character_edits``, in a sixth of the time: it does not look for the kinds of edits."""
    return Levenshtein.distance(split_characters(reference), split_characters(hypothesis))


def total_edits(counts: EditCounts) -> int:
    return counts.substitutions + counts.deletions + counts.insertions


def error_rate(counts: Sequence[EditCounts]) -> float:
    """Edits of all utterances over the length of all references: WER of words, CER of characters.

    Where no reference has a word, the rate is the number of edits, as jiwer defines it.
    """
    return sum(map(total_edits, counts)) / (sum(edits.reference for edits in counts) or 1)
