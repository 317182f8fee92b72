# %% [markdown]
# # Phase 2: motifs from units
#
# Reads phase 1's `corpus_timestamped.json`, merges pairs of neighbouring units that recur (byte-pair encoding), and
# leaves `exp/<language>_bpe/` with `tokenizer.json` (loads as a `PreTrainedTokenizerFast`) and `motifs.json`: every
# token's units, how often and how long it occurs, and where to listen to it.
#
# ```
# python src/train_bpe.py --language spanish --vocab_size 500
# python src/train_bpe.py --language satere --vocab_size 2000 --examples_audio 20
# ```

# %%
import core.quiet_start

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from core.cli import HELP_FORMATTER, add_experiment_flags, configure_log, parse_flags, run_main, says_next
from core.errors import UserError
from core.files import read_json
from core.frames import UNIT_RATE
from core.hashing import hash_fraction
from core.locks import only_run
from core.records import SPLITS, BpeSummary, TokenBits, TokenRates, Utterance
from languages import add_language_flags, command_for, language_config, language_paths
from training.experiment import mark_finished, open_experiment, read_derived, require_finished
from units.bpe import (
    check_vocab_size,
    encode_batch,
    load_tokenizer,
    save_tokenizer,
    token_units,
    train_tokenizer,
)
from units.corpus import read_corpus
from units.motif_audio import cut_examples
from units.motifs import MotifCounts, count_motifs, new_motif_counts, write_motifs
from units.quality import bitrates, entropy_bits
from units.tally import UnitCounts, check_utterance, count_utterance, finish_tally, new_tally

log = logging.getLogger("oral_units")

ENCODED_AT_ONCE = 256  # utterances handed to the tokenizer's threads together
MAX_CONTEXT_SECONDS = 10.0
SUMMARY_LINE = (
    "{vocab_size} tokens: {n_units} units, {n_merges} merges; the longest stands for {longest_units} units; "
    "{tokens_used} tokens occur in train"
)

# %% [markdown]
# ## Arguments
#
# - **Vocabulary 500** for 100–200 units, twice the units beyond that: a few hundred merges are what an hour of speech
#   supports; with tens of hours, 1,000–5,000 reach words. It counts special tokens and units.
# - **Motifs of at most 64 units** (about 3 s): a prompt or a jingle that is repeated word for word would otherwise be
#   chained into one token of hundreds of units.
# - **At least 2 occurrences**: a pair that occurs once is no motif.
# - **30 million units at most** are held while fitting (about 80 bytes each); larger corpora are sampled by utterance.


# %%
DESCRIPTION = """Phase 2: find motifs, sequences of units that come back often, by byte-pair encoding.

Reads phase 1's corpus_timestamped.json. Writes exp/<language>_bpe/ with motifs.json and tokenizer.json.

    python src/train_bpe.py --language spanish --vocab_size 500

More: docs/phase2.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        formatter_class=HELP_FORMATTER,
    )
    add_language_flags(parser)
    add_experiment_flags(parser)
    group = parser.add_argument_group("BPE")
    group.add_argument(
        "--vocab_size",
        type=int,
        default=None,
        help="tokens in all: special tokens, units and merges; by default the language's (src/languages.py), at "
        "least two for each unit",
    )
    group.add_argument("--min_count", type=int, default=2, help="occurrences a pair needs to be merged")
    group.add_argument("--max_motif_units", type=int, default=64, help="longest token, in units; 0: no bound")
    group.add_argument(
        "--max_train_units",
        type=int,
        default=30_000_000,
        help="units held while fitting, a random sample of the train split's utterances beyond that; 0: all",
    )
    group = parser.add_argument_group("motifs")
    group.add_argument(
        "--n_examples", type=int, default=5, help="examples a motif in motifs.json, each (id, start, end)"
    )
    group.add_argument(
        "--examples_audio",
        type=int,
        default=0,
        metavar="N",
        help="cut wavs of the N most frequent and the N longest motifs to listen to, into motifs/",
    )
    group.add_argument(
        "--examples_context",
        type=float,
        default=0.3,
        metavar="SECONDS",
        help="speech kept before and after each example in those wavs; a motif of 60 ms alone is only a click",
    )
    return parse_flags(parser, argv)


def check_args(args: argparse.Namespace) -> None:
    lowest = {"min_count": 1, "max_motif_units": 0, "max_train_units": 0, "n_examples": 0, "examples_audio": 0}
    for name, least in lowest.items():
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)}: expected {least} or more")
    if args.max_motif_units == 1:
        raise UserError("--max_motif_units 1: expected 2 or more (or 0 for no bound), since a merge joins two units")
    if not 0 <= args.examples_context <= MAX_CONTEXT_SECONDS:
        raise UserError(f"--examples_context {args.examples_context}: expected 0 to {MAX_CONTEXT_SECONDS:g} seconds")
    if args.examples_audio and not args.n_examples:
        raise UserError("--examples_audio needs examples to cut; give --n_examples 1 or more")


# %% [markdown]
# ## Three passes over the corpus
#
# The first counts units (and refuses a broken corpus), the second fits the BPE on the train split, the third encodes
# everything and collects the motifs. None of them holds the corpus; the fit holds its words.


# %%
def count_units(corpus: Path, n_units: int, n_streams: int) -> dict[str, UnitCounts]:
    """The counts of each split; only the first stream's units become tokens."""
    tallies = {split: new_tally(n_units, n_streams) for split in SPLITS}
    for utterance in tqdm(read_corpus(corpus), desc="counting units", unit=" utterances", disable=None):
        check_utterance(utterance, n_units, n_streams)
        count_utterance(tallies[utterance["split"]], utterance)
    return {split: finish_tally(tally) for split, tally in tallies.items()}


def training_units(corpus: Path, share: float) -> Iterator[np.ndarray]:
    """(U,) units of the train split's utterances; of a random ``share`` of them, chosen by their ids, below 1."""
    for utterance in read_corpus(corpus, splits=["train"]):
        if share >= 1 or hash_fraction(0, "bpe", utterance["id"]) < share:
            yield np.asarray(utterance["units"], np.int64)


def encoded_utterances(
    corpus: Path, tokenizer: PreTrainedTokenizerFast, n_utterances: int
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Every utterance of the corpus with its (T,) token ids, with a progress bar."""
    utterances = read_corpus(corpus)
    with tqdm(total=n_utterances, desc="finding motifs", unit=" utterances", disable=None) as bar:
        while held := list(islice(utterances, ENCODED_AT_ONCE)):
            yield from zip(held, encode_batch(tokenizer, [utterance["units"] for utterance in held]))
            bar.update(len(held))


def find_motifs(
    corpus: Path, tokenizer: PreTrainedTokenizerFast, n_utterances: int, n_examples: int
) -> tuple[MotifCounts, dict[str, np.ndarray]]:
    """Motif counts on the train split, and (V,) token counts for each split."""
    motifs = new_motif_counts(token_units(tokenizer), n_examples)
    token_counts = {split: np.zeros(len(tokenizer), np.int64) for split in SPLITS}
    for utterance, ids in encoded_utterances(corpus, tokenizer, n_utterances):
        split = utterance["split"]
        token_counts[split] += np.bincount(ids, minlength=len(tokenizer))
        if split == "train":
            count_motifs(motifs, ids, utterance)
    return motifs, token_counts


# %% [markdown]
# ## What it gained
#
# **Compression** is deduplicated units per token. **Bits per second** are the entropy of the symbols' frequencies times
# symbols a second: of units at 50 Hz, of deduplicated units and of tokens. The last two leave the timing out;
# "with durations" adds it back. Test says what the motifs are worth on speech they were not fitted to.


# %%
def summarize_split(counts: UnitCounts, token_counts: np.ndarray) -> TokenRates:
    """Rates of one split with at least one frame, per second of audio; bits as in ``units.quality``."""
    seconds = float(counts.frames[0].sum() / UNIT_RATE)
    units, tokens = int(counts.runs.sum()), int(token_counts.sum())
    bits = bitrates(counts)
    return {
        "n_utterances": counts.n_utterances,
        "seconds": seconds,
        "units": units,
        "tokens": tokens,
        "units_per_token": units / tokens,
        "units_per_second": units / seconds,
        "tokens_per_second": tokens / seconds,
        "bits_per_second": {
            "frames": bits.frames.value,
            "deduplicated": bits.deduplicated.value,
            "deduplicated_timed": bits.deduplicated_timed,
            "tokens": float(entropy_bits(token_counts)) * tokens / seconds,
        },
    }


def print_summary(summary: BpeSummary) -> None:
    print(SUMMARY_LINE.format(**summary))
    header = ("split", "minutes", "units/s", "tokens/s", "units/token", "bit/s 50 Hz", "units", "+durations", "tokens")
    print(" ".join(name.rjust(11) for name in header))
    for split, rates in summary["splits"].items():
        print(split.rjust(11), " ".join(f"{value:11.2f}" for value in _row_values(rates)))


def _row_values(rates: TokenRates) -> list[float]:
    shown = [rates[name] for name in ("units_per_second", "tokens_per_second", "units_per_token")]
    bits = rates["bits_per_second"]
    return [rates["seconds"] / 60, *shown, *(bits[name] for name in TokenBits.__annotations__)]


# %% [markdown]
# ## All of it


# %%
def fit_tokenizer(args: argparse.Namespace, exp: Path, corpus: Path, n_units: int, share: float) -> None:
    """The tokenizer of ``exp``, fitted on a ``share`` of the train split, unless it is there already."""
    if (exp / "tokenizer.json").exists():
        return
    tokenizer = train_tokenizer(
        training_units(corpus, share),
        n_units=n_units,
        vocab_size=args.vocab_size,
        min_count=args.min_count,
        max_motif_units=args.max_motif_units,
        show_progress=sys.stderr.isatty(),
    )
    save_tokenizer(exp, tokenizer)


def find_all(args: argparse.Namespace, exp: Path, corpus: Path, n_units: int, n_streams: int) -> BpeSummary:
    """Phase 2 from the corpus to ``motifs.json``; returns the summary of ``finished.json``."""
    counts = count_units(corpus, n_units, n_streams)
    n_train = int(counts["train"].runs.sum())
    if n_train == 0:
        raise UserError(f"{corpus}: expected units in the train split, found none; rerun phase 1")
    share = min(1.0, args.max_train_units / n_train) if args.max_train_units else 1.0
    log.info("%d tokens from %s units", args.vocab_size, f"{round(n_train * share):,}")
    fit_tokenizer(args, exp, corpus, n_units, share)
    tokenizer = load_tokenizer(exp)
    if len(tokenizer) < args.vocab_size:
        log.warning("no pair left to merge: %d tokens instead of %d", len(tokenizer), args.vocab_size)
    n_utterances = sum(found.n_utterances for found in counts.values())
    motifs, token_counts = find_motifs(corpus, tokenizer, n_utterances, args.n_examples)
    write_motifs(exp / "motifs.json", motifs)
    return {
        "vocab_size": len(tokenizer),
        "n_units": n_units,
        "n_merges": int((motifs.lengths > 1).sum()),
        "longest_units": int(motifs.lengths.max()),
        "tokens_used": int((motifs.counts > 0).sum()),
        "train_share": share,
        "splits": {
            split: summarize_split(found, token_counts[split]) for split, found in counts.items() if found.runs.any()
        },
    }


def main() -> None:
    args = parse_args()
    check_args(args)
    paths = language_paths(args.language, args.tag)
    units, corpus, exp = paths["units"], paths["corpus"], args.exp or paths["bpe"]
    with only_run(exp):
        require_finished(units, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
        settings = read_derived(units, "n_units")
        n_units, n_streams = settings["n_units"], settings.get("n_streams", 1)
        # The language's default goes into config.json as if it had been typed, so that a changed table is noticed.
        args.vocab_size = args.vocab_size or max(language_config(args.language)["vocab_size"], 2 * n_units)
        check_vocab_size(args.vocab_size, n_units)
        derived = {"language": args.language, "corpus": str(corpus), "n_units": n_units, "n_streams": n_streams}
        changeable = ["examples_audio", "examples_context"]
        state = open_experiment(exp, vars(args), inputs=[corpus], derived=derived, ignore=changeable)
        configure_log(exp / "train.log")
        if state == "finished":
            print(f"{exp}: already finished with this configuration")
        else:
            mark_finished(exp, find_all(args, exp, corpus, n_units, n_streams))
        if args.examples_audio:
            cut_examples(exp, args.examples_audio, args.examples_context)
        print_summary(read_json(exp / "finished.json"))
        coming = f"; next: {command_for('run_phase3.sh', args.language, args.tag)}" if says_next() else ""
        print(f"wrote {exp}/tokenizer.json and motifs.json{coming}")


# %%
if __name__ == "__main__":
    run_main(main)
