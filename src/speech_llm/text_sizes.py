"""How long texts are, in tokens and in letters, counted once for a corpus and kept beside its features.

Of hundreds of thousands of texts this takes minutes, and every start asks for it: to plan batches, to choose the
letters of the CTC head, to see whether the texts have room in their audio.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from core.arrays import read_arrays, write_arrays
from core.text_normalisation import normalise_text

VERSION = 1  # of what is counted, and of normalise_text
AT_ONCE = 1000  # texts
SHOWN_FROM = 20_000  # texts: fewer are counted before a bar is read

log = logging.getLogger("oral_units")


class TextSizes(NamedTuple):
    """Of each of N texts, in their order; and the letters of them all."""

    n_tokens: np.ndarray  # (N,) int32, without special tokens
    n_letters: np.ndarray  # (N,) int32, normalised, spaces included
    n_path: np.ndarray  # (N,) int32: positions of the shortest CTC path, one more between two letters alike
    characters: str  # sorted


def measure_texts(tokenizer, texts: Sequence[str], folder: Path | None = None) -> TextSizes:
    """The sizes of the texts; with a ``folder`` they are read from it where they were counted before.

    The file's name follows from the texts and the tokenizer: other texts have another file.
    """
    path = folder / f"texts_{_key(tokenizer, texts)}.npz" if folder else None
    if path is not None and path.is_file():
        with contextlib.suppress(ValueError):
            kept = read_arrays(path, *TextSizes._fields)
            return TextSizes(**kept | {"characters": _as_text(kept["characters"])})
    found = _count(tokenizer, texts)
    if path is not None:
        try:
            _write(path, found)
        except OSError as error:
            log.warning("%s: cannot be written (%s); the next start counts again", path, error.strerror)
    return found


def _key(tokenizer, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{VERSION}\n{_identify(tokenizer)}\n".encode())
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()[:24]


def _identify(tokenizer) -> str:
    """What the number of tokens depends on."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described = backend.to_str() if backend is not None else f"{tokenizer.name_or_path} {sorted(tokenizer.get_vocab())}"
    return hashlib.sha256(described.encode()).hexdigest()


def _count(tokenizer, texts: Sequence[str]) -> TextSizes:
    n_tokens, n_letters, n_path = (np.zeros(len(texts), np.int32) for _ in range(3))
    characters: set[str] = set()
    n_shown = None if len(texts) >= SHOWN_FROM else True
    with tqdm(total=len(texts), desc="counting tokens and letters", unit=" texts", disable=n_shown) as bar:
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            n_tokens[start : start + len(some)] = list(_token_counts(tokenizer, some))
            for place, letters in enumerate(map(normalise_text, some), start):
                n_letters[place] = len(letters)
                n_path[place] = len(letters) + sum(map(str.__eq__, letters, letters[1:]))
                characters.update(letters)
            bar.update(len(some))
    return TextSizes(n_tokens, n_letters, n_path, "".join(sorted(characters)))


def _token_counts(tokenizer, texts: Sequence[str]) -> Iterator[int]:
    """As ``tokenizer.encode(text, add_special_tokens=False)``, many at once where the tokenizer can."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.truncation is not None or backend.padding is not None:
        yield from (len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
        return
    yield from map(len, backend.encode_batch_fast(list(texts), add_special_tokens=False))


def _as_text(codes: np.ndarray) -> str:
    return "".join(map(chr, codes.tolist()))


def _write(path: Path, sizes: TextSizes) -> None:
    arrays = sizes._asdict() | {"characters": np.array(list(map(ord, sizes.characters)), np.int32)}
    write_arrays(path, **arrays)
