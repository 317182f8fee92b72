"""Acoustic units as the input of a speech model, for languages that have units but no good encoder.

Axes: L ids of one utterance.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import hash_files
from languages import command_for_folder
from training.experiment import read_derived, require_finished
from units.corpus import read_corpus
from units.phase1_inputs import hash_units

ENCODED_AT_ONCE = 4096  # utterances


def load_unit_sequences(
    units_exp: str | Path, bpe_exp: str | Path | None = None, *, splits: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """({utterance id: (L,) int64 ids}, vocabulary size): deduplicated units or, with ``bpe_exp``, its tokens.

    units_exp, bpe_exp: the folders of a finished phase 1 and 2. Ids of units are 0 … K - 1, those of tokens the
    tokenizer's, special tokens among them. ``splits`` None: all. Raises UserError for an unfinished phase, splits
    without utterances, units out of range and a tokenizer of other units.
    """
    units_exp = Path(units_exp)
    require_finished(units_exp, phase="phase 1", command=command_for_folder("run_phase1.sh", units_exp))
    n_units = read_derived(units_exp, "n_units")["n_units"]
    corpus = units_exp / "corpus_timestamped.json"
    sequences = {u["id"]: np.asarray(u["units"], np.int64) for u in read_corpus(corpus, splits=splits)}
    if not sequences:
        raise UserError(f"{corpus}: expected utterances of {', '.join(splits or ['any split'])}, found none")
    for name, units in sequences.items():
        if len(units) and not 0 <= units.min() <= units.max() < n_units:
            raise UserError(f"{corpus}, {name}: expected units below {n_units}, found {units.max()}; rerun phase 1")
    return _as_tokens(sequences, Path(bpe_exp), n_units) if bpe_exp else (sequences, n_units)


def hash_ids(units_exp: Path, bpe_exp: Path | None) -> str:
    """What the ids of ``load_unit_sequences`` mean, as a hash: of the clusters and, for tokens, of the tokenizer."""
    return hash_units(Path(units_exp)) + (hash_files([Path(bpe_exp) / "tokenizer.json"]) if bpe_exp else "")


def _as_tokens(sequences: dict[str, np.ndarray], bpe_exp: Path, n_units: int) -> tuple[dict[str, np.ndarray], int]:
    from units.bpe import encode_batch, load_tokenizer  # takes seconds to import

    require_finished(bpe_exp, phase="phase 2", command=command_for_folder("run_phase2.sh", bpe_exp))
    fitted = read_derived(bpe_exp, "n_units")["n_units"]
    if fitted != n_units:
        raise UserError(
            f"{bpe_exp}: expected motifs of {n_units} units, found {fitted}; run phase 2 on the same units, "
            "or give the TAG of these"
        )
    tokenizer, names, tokens = load_tokenizer(bpe_exp), list(sequences), {}
    for start in range(0, len(names), ENCODED_AT_ONCE):
        some = names[start : start + ENCODED_AT_ONCE]
        tokens |= zip(some, encode_batch(tokenizer, [sequences[name] for name in some]))
    return tokens, len(tokenizer)
