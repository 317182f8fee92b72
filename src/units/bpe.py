"""Byte-pair encoding of units with Hugging Face ``tokenizers``: units <-> private characters <-> tokens.

A unit is written as one character of a private alphabet, so that an utterance is one unbroken word: no whitespace, no
normaliser and no pre-tokenizer ever stands between two units. (Units written as "31 31 87" and split at the spaces
never merge: each "word" is already a single unit.) Token ids: the special tokens first, then every unit in order, used
or not, then the merges, most frequent first. Durations stay outside: a token's duration is the sum over its units.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from tokenizers import Tokenizer, decoders, models, trainers
from transformers import PreTrainedTokenizerFast

from core.errors import UserError
from core.files import write_atomically
from languages import command_for_folder

# Supplementary Private Use Area-A: 65,534 characters that no text, normaliser or tokenizer gives a meaning.
ALPHABET_START = 0xF0000
MAX_UNITS = 65534
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
N_SPECIAL = len(SPECIAL_TOKENS)
# The trainer holds each sequence as one word, finds pairs word by word and deletes inside it: a merge costs up to
# (words with the pair) x (their length). Measured on 15 million units, 500 tokens, two cores: 12.7 s and 1.2 GB in
# pieces of 1,024 units, 19.2 s whole (6,000), 17.4 s and 1.6 GB in pieces of 128. Cutting hides 1 pair in 1,024.
TRAINING_PIECE_UNITS = 1024


def units_to_text(units: Iterable[int]) -> str:
    """(U,) unit ids -> U private characters. Raises UserError for an id outside 0 … 65,533."""
    units = np.asarray(units, np.int64).reshape(-1)
    if len(units) and not 0 <= units.min() <= units.max() < MAX_UNITS:
        raise UserError(f"expected unit ids from 0 to {MAX_UNITS - 1}, found {units.min()} … {units.max()}")
    return (units + ALPHABET_START).astype("<u4").tobytes().decode("utf-32-le")


def text_to_units(text: str) -> np.ndarray:
    """The inverse of ``units_to_text``: U characters -> (U,) int64. Raises UserError for any other character."""
    units = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64) - ALPHABET_START
    if len(units) and not 0 <= units.min() <= units.max() < MAX_UNITS:
        raise UserError(f"expected characters of the unit alphabet only, found {text[:40]!r}")
    return units


def train_tokenizer(
    utterances: Iterable[np.ndarray],
    *,
    n_units: int,
    vocab_size: int,
    min_count: int = 2,
    max_motif_units: int = 0,
    show_progress: bool = False,
) -> PreTrainedTokenizerFast:
    """Fit BPE to an iterator of (U,) deduplicated unit sequences.

    ``vocab_size`` counts special tokens, units and merges; the result is smaller where no pair is left that occurs
    ``min_count`` times. ``max_motif_units`` bounds a token's length in units (0: no bound).
    """
    check_vocab_size(vocab_size, n_units)
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    # Without a decoder, tokens are joined by spaces.
    tokenizer.decoder = decoders.Fuse()
    # The library keeps tokens strictly shorter than max_token_length (0.23), counted in characters.
    length_bound = {"max_token_length": max_motif_units + 1} if max_motif_units else {}
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=list(units_to_text(range(n_units))),
        show_progress=show_progress,
        **length_bound,
    )
    tokenizer.train_from_iterator(_training_texts(utterances, n_units), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def check_vocab_size(vocab_size: int, n_units: int) -> None:
    """Refuse a vocabulary that leaves no room for a single merge, or more units than the alphabet has."""
    if n_units > MAX_UNITS:
        raise UserError(f"expected at most {MAX_UNITS} units, found {n_units}; fit fewer in phase 1 (--n_units)")
    if vocab_size <= n_units + N_SPECIAL:
        raise UserError(
            f"--vocab_size {vocab_size}: expected more than {n_units + N_SPECIAL}, which the {n_units} units and "
            f"{N_SPECIAL} special tokens fill without a single merge; try --vocab_size {n_units + N_SPECIAL + 300}"
        )


def _training_texts(utterances: Iterable[np.ndarray], n_units: int) -> Iterator[str]:
    for units in (np.asarray(utterance, np.int64) for utterance in utterances):
        if len(units) and not 0 <= units.min() <= units.max() < n_units:
            raise UserError(f"expected unit ids below {n_units}, found {units.max()}; rerun phase 1")
        for start in range(0, len(units), TRAINING_PIECE_UNITS):
            yield units_to_text(units[start : start + TRAINING_PIECE_UNITS])


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write ``tokenizer_config.json``, then ``tokenizer.json``, each complete or absent."""
    with tempfile.TemporaryDirectory() as made:
        tokenizer.save_pretrained(made)
        for path in sorted(Path(made).iterdir(), key=lambda path: path.name == "tokenizer.json"):
            write_atomically(Path(folder) / path.name, partial(shutil.copyfile, path))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a phase 2 folder; UserError where there is none."""
    if not (Path(folder) / "tokenizer.json").is_file():
        command = command_for_folder("run_phase2.sh", folder)
        raise UserError(f"{folder}: expected tokenizer.json, found none; run: {command}")
    return PreTrainedTokenizerFast.from_pretrained(str(folder))


def encode_units(tokenizer: PreTrainedTokenizerFast | Tokenizer, units: Iterable[int]) -> np.ndarray:
    """(U,) units -> (T,) int64 token ids, T <= U, no special tokens. UserError for a unit it does not know."""
    return encode_batch(tokenizer, [units])[0]


def encode_batch(
    tokenizer: PreTrainedTokenizerFast | Tokenizer, utterances: Iterable[Iterable[int]]
) -> list[np.ndarray]:
    """``encode_units`` for many utterances at once, on all cores."""
    backend = _backend(tokenizer)
    texts = [units_to_text(units) for units in utterances]
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    ids = [np.array(encoding.ids, np.int64) for encoding in encodings]
    unknown = backend.token_to_id(SPECIAL_TOKENS["unk_token"])
    for text, tokens in zip(texts, ids):
        if (tokens == unknown).any():
            strangers = sorted({int(text_to_units(c)[0]) for c in set(text) if backend.token_to_id(c) is None})
            raise UserError(f"units {strangers[:5]}: not among the tokenizer's; it belongs to other units")
    return ids


def decode_tokens(tokenizer: PreTrainedTokenizerFast | Tokenizer, ids: Iterable[int]) -> np.ndarray:
    """The inverse of ``encode_units``: (T,) token ids -> (U,) int64 units; pad, bos and eos stand for no unit.

    Raises UserError for <unk> and for ids outside the vocabulary, which stand for nothing that could be spoken.
    """
    backend, pieces = _backend(tokenizer), []
    silent = {SPECIAL_TOKENS[name] for name in ("pad_token", "bos_token", "eos_token")}
    for token in np.asarray(ids, np.int64).reshape(-1).tolist():
        piece = backend.id_to_token(token) if token >= 0 else None
        if piece == SPECIAL_TOKENS["unk_token"]:
            raise UserError(f"token {token}: {piece} stands for a unit that nobody knows; leave it out")
        if piece is None:
            raise UserError(f"token {token}: expected an id below {backend.get_vocab_size()}")
        if piece not in silent:
            pieces.append(piece)
    return text_to_units("".join(pieces))


def token_units(tokenizer: PreTrainedTokenizerFast | Tokenizer) -> list[list[int]]:
    """Every token's units, indexed by token id; special tokens have none."""
    backend = _backend(tokenizer)
    pieces = (backend.id_to_token(token) for token in range(backend.get_vocab_size()))
    return [[] if piece in SPECIAL_TOKENS.values() else text_to_units(piece).tolist() for piece in pieces]


def token_edges(ids: np.ndarray, lengths: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Where tokens begin and end, in frames: (T,) ids, (V,) units a token, (U,) frames a unit -> (T + 1,) edges."""
    unit_edges = np.concatenate([[0], np.cumsum(durations)])
    return unit_edges[np.concatenate([[0], np.cumsum(lengths[ids])])]


def _backend(tokenizer: PreTrainedTokenizerFast | Tokenizer) -> Tokenizer:
    return getattr(tokenizer, "backend_tokenizer", tokenizer)
