"""Tokens of a language model of units: special tokens, a token a language, and the symbols of each phase 1.

Token ids: <pad>, <end>, the languages in their order, then the symbols of each block. A block is one phase 1, or one
tokenizer on it; languages whose units are the same share theirs. A symbol is a unit, or a token of phase 2.

Axes: U deduplicated units, T tokens, V token ids.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tokenizers import Tokenizer

from core.errors import UserError
from core.records import UnitVocabulary
from units.bpe import N_SPECIAL, decode_tokens, encode_batch, token_units
from units.corpus import deduplicate, expand

KINDS = ("units", "frames", "bpe")
PAD, END = 0, 1
N_FIXED = 2


class Vocabulary(NamedTuple):
    """What each token id stands for."""

    kind: str  # units: deduplicated; frames: one every 20 ms; bpe: tokens of phase 2
    languages: tuple[str, ...]
    digests: tuple[str, ...]  # of each block: what tells its units (and tokenizer) from others
    sizes: tuple[int, ...]  # symbols of each block
    block_of: tuple[int, ...]  # number of the block of each language
    tokenizers: tuple[Tokenizer, ...] = ()  # of each block, for bpe


def make_vocabulary(
    kind: str,
    languages: Sequence[str],
    digests: Sequence[str],
    sizes: Sequence[int],
    tokenizers: Sequence[Tokenizer] = (),
) -> Vocabulary:
    """From the digest, size and tokenizer of each language's symbols; equal digests share a block."""
    if len(set(languages)) != len(languages):
        raise UserError(f"languages {', '.join(languages)}: expected each once; leave the second out")
    known = list(dict.fromkeys(digests))
    first = [list(digests).index(digest) for digest in known]
    chosen = tuple(tokenizers[place] for place in first) if tokenizers else ()
    block_of = tuple(known.index(digest) for digest in digests)
    return Vocabulary(kind, tuple(languages), tuple(known), tuple(sizes[place] for place in first), block_of, chosen)


def describe_vocabulary(vocabulary: Vocabulary) -> UnitVocabulary:
    """Plain values, for a checkpoint; tokenizers become JSON text."""
    plain = {name: list(value) for name, value in vocabulary._asdict().items() if name not in ("kind", "tokenizers")}
    texts = [tokenizer.to_str() for tokenizer in vocabulary.tokenizers]
    return {"kind": vocabulary.kind, "tokenizers": texts, **plain}


def read_vocabulary(described: UnitVocabulary) -> Vocabulary:
    """The inverse of ``describe_vocabulary``."""
    plain = {name: tuple(value) for name, value in described.items() if name != "kind"}
    tokenizers = tuple(map(Tokenizer.from_str, plain.pop("tokenizers")))
    return Vocabulary(kind=described["kind"], tokenizers=tokenizers, **plain)


def count_tokens(vocabulary: Vocabulary) -> int:
    """V, the number of token ids."""
    return N_FIXED + len(vocabulary.languages) + sum(vocabulary.sizes)


def language_row(vocabulary: Vocabulary, language: str) -> int:
    """The number of a language, from 0."""
    if language not in vocabulary.languages:
        raise UserError(f"language '{language}': expected one of {', '.join(vocabulary.languages)}, found another")
    return vocabulary.languages.index(language)


def language_token(vocabulary: Vocabulary, language: str) -> int:
    """The id that an utterance of ``language`` begins with."""
    return N_FIXED + language_row(vocabulary, language)


def block_range(vocabulary: Vocabulary, block: int) -> range:
    """The token ids of a block's symbols."""
    first = N_FIXED + len(vocabulary.languages) + sum(vocabulary.sizes[:block])
    return range(first, first + vocabulary.sizes[block])


def language_range(vocabulary: Vocabulary, language: str) -> range:
    """The token ids of a language's symbols."""
    return block_range(vocabulary, vocabulary.block_of[language_row(vocabulary, language)])


def allowed_tokens(vocabulary: Vocabulary) -> np.ndarray:
    """(languages, V) bool: what may follow in each language, its own symbols and <end>; never what BPE cannot say."""
    allowed = np.zeros((len(vocabulary.languages), count_tokens(vocabulary)), bool)
    for row, language in enumerate(vocabulary.languages):
        symbols = language_range(vocabulary, language)
        first = symbols.start + (N_SPECIAL if vocabulary.kind == "bpe" else 0)
        allowed[row, first : symbols.stop] = True
    allowed[:, END] = True
    return allowed


def encode_utterances(
    vocabulary: Vocabulary, language: str, utterances: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """(units (U,), durations (U,) frames) of each utterance -> its (T,) int64 token ids, without language and <end>."""
    symbols = language_range(vocabulary, language)
    if vocabulary.kind == "bpe":
        tokenizer = vocabulary.tokenizers[vocabulary.block_of[language_row(vocabulary, language)]]
        found = encode_batch(tokenizer, [units for units, _ in utterances])
    elif vocabulary.kind == "frames":
        found = [expand(units, durations) for units, durations in utterances]
    else:
        found = [np.asarray(units, np.int64) for units, _ in utterances]
    if any(len(ids) and not 0 <= ids.min() <= ids.max() < len(symbols) for ids in found):
        raise UserError(f"{language}: expected symbols 0 to {len(symbols) - 1}, found others; rerun phase 1")
    return [ids + symbols.start for ids in found]


def frame_tokens(vocabulary: Vocabulary, language: str, tokens: np.ndarray, *, ended: bool = True) -> np.ndarray:
    """(T,) tokens of an utterance between its language's token and, if ``ended``, <end>: (T + 1,) or (T + 2,)."""
    return np.concatenate([[language_token(vocabulary, language)], tokens, [END] * ended]).astype(np.int64)


def decode_symbols(vocabulary: Vocabulary, language: str, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(T,) token ids of ``language`` -> its units (U,) and, for frames, their durations (U,); <end> stands for none.

    Neighbours that are equal become one unit.
    """
    symbols = language_range(vocabulary, language)
    ids = np.asarray(tokens, np.int64)
    ids = ids[ids != END] - symbols.start
    if len(ids) and not 0 <= ids.min() <= ids.max() < len(symbols):
        raise UserError(f"expected tokens of {language}, found others")
    if vocabulary.kind == "bpe":
        tokenizer = vocabulary.tokenizers[vocabulary.block_of[language_row(vocabulary, language)]]
        ids = decode_tokens(tokenizer, ids)
    units, durations = deduplicate(ids)
    return units, durations if vocabulary.kind == "frames" else None


def symbol_units(vocabulary: Vocabulary, block: int) -> list[list[int]]:
    """The units of each symbol of a block; BPE's special tokens have none."""
    if vocabulary.kind == "bpe":
        return token_units(vocabulary.tokenizers[block])
    return [[unit] for unit in range(vocabulary.sizes[block])]


def shared_tokens(old: Vocabulary, new: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Token ids that mean the same in both vocabularies: those of ``old`` and, in the same order, those of ``new``."""
    pairs = [(PAD, PAD), (END, END)]
    pairs += [(language_token(old, name), language_token(new, name)) for name in new.languages if name in old.languages]
    for block, digest in enumerate(new.digests):
        if old.kind == new.kind and digest in old.digests:
            pairs += zip(block_range(old, old.digests.index(digest)), block_range(new, block))
    before, now = zip(*pairs)
    return np.array(before, np.int64), np.array(now, np.int64)
