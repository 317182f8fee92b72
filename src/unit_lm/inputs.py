"""What a language model of units is made from: the units of several languages, and perhaps their tokenizers."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.files import hash_files, read_json
from languages import command_for, language_paths
from training.experiment import require_finished
from unit_lm.saved_lm import BLOCKS
from unit_lm.vocabulary import Vocabulary, make_vocabulary
from units.bpe import load_tokenizer
from units.kmeans import load_kmeans
from units.phase1_inputs import CLUSTER_FILES, CLUSTERS, DESCRIPTION, describe_inputs, hash_units, lacks_clusters


class LanguageInputs(NamedTuple):
    """Where the finished units, and tokenizer, of one language lie."""

    language: str
    units: Path
    corpus: Path
    bpe: Path | None
    described: dict[str, str | int]  # for config.json


def find_languages(languages: Sequence[str], tag: str, *, kind: str, bpe: Path | None = None) -> list[LanguageInputs]:
    """The inputs of each language; UserError where a phase of one is not finished.

    bpe: one folder of phase 2 for all of them, instead of each language's own.
    """
    found = []
    for language in languages:
        paths = language_paths(language, tag)
        require_finished(paths["units"], phase="phase 1", command=command_for("run_phase1.sh", language, tag))
        folder = (bpe or paths["bpe"]) if kind == "bpe" else None
        if folder is not None:
            require_finished(folder, phase="phase 2", command=command_for("run_phase2.sh", language, tag))
        described = describe_inputs(language, paths) | ({"bpe": str(folder)} if folder else {})
        found.append(LanguageInputs(language, paths["units"], paths["corpus"], folder, described))
    return found


def input_files(inputs: Sequence[LanguageInputs]) -> list[Path]:
    """The files that decide what is learnt."""
    tokenizers = [entry.bpe / "tokenizer.json" for entry in inputs if entry.bpe]
    return [entry.corpus for entry in inputs] + list(dict.fromkeys(tokenizers))


def build_vocabulary(inputs: Sequence[LanguageInputs], kind: str) -> Vocabulary:
    """Languages whose units (and tokenizers) are the same share their symbols."""
    digests, sizes, tokenizers = [], [], []
    for entry in inputs:
        digest, size = hash_units(entry.units), read_json(entry.units / "config.json")["derived"]["n_units"]
        if entry.bpe:
            tokenizer = load_tokenizer(entry.bpe).backend_tokenizer
            tokenizers.append(tokenizer)
            digest, size = f"{digest}+{hash_files([entry.bpe / 'tokenizer.json'])}", tokenizer.get_vocab_size()
        digests.append(digest)
        sizes.append(size)
    return make_vocabulary(kind, [entry.language for entry in inputs], digests, sizes, tokenizers)


def units_of_block(vocabulary: Vocabulary, block: int) -> str:
    """The hash of a block's units, without that of their tokenizer."""
    return vocabulary.digests[block].partition("+")[0]


def copy_block_units(inputs: Sequence[LanguageInputs], vocabulary: Vocabulary, exp: Path) -> None:
    """Copy what the units of each block mean into ``exp``, so that it can be used without phase 1."""
    for block in range(len(vocabulary.digests)):
        folder = inputs[vocabulary.block_of.index(block)].units
        target = Path(exp) / BLOCKS / str(block) / "units"
        target.mkdir(parents=True, exist_ok=True)
        for name in [DESCRIPTION] if lacks_clusters(folder) else CLUSTER_FILES:
            shutil.copyfile(folder / name, target / name)


def read_centroids(inputs: Sequence[LanguageInputs], vocabulary: Vocabulary) -> list[np.ndarray | None]:
    """(K, D) centroids of the first stream of each block; None where the units were made elsewhere."""
    folders = [inputs[vocabulary.block_of.index(block)].units for block in range(len(vocabulary.digests))]
    return [None if lacks_clusters(folder) else load_kmeans(folder / CLUSTERS).books[0] for folder in folders]


def corpora(inputs: Sequence[LanguageInputs]) -> Mapping[str, Path]:
    return {entry.language: entry.corpus for entry in inputs}
