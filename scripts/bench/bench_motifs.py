"""Do motifs hold the same sounds wherever they occur, and how much shorter do they make speech?

For a language with phones.tsv, and folders of units. BPE is fitted on the train split, with as many tokens for each
folder; a motif is read as the phones that its train occurrences hold most often. A phone belongs to the motif that its
middle lies in. Scored on the test split, with the labels turned round by half an utterance as control.

    python scripts/bench/bench_motifs.py --language russian --exp exp/russian_units_k1000 exp/russian_units_k1000p
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from core.cli import run_main
from core.files import read_json
from core.frames import UNIT_RATE
from core.records import Utterance
from languages import add_language_flags, language_paths
from units.bpe import encode_units, token_edges, token_units, train_tokenizer
from units.corpus import read_corpus
from units.phone_labels import PhoneLabels, phones_at, read_phones
from units.phone_report import label_utterances, summarize_phones
from units.phone_scores import STEPS_A_FRAME
from units.quality import as_json, entropy_bits


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
    parser.add_argument("--exp", type=Path, nargs="+", required=True, help="folders of phase 1")
    parser.add_argument("--vocab_size", type=int, default=2000, help="tokens in all, units included (2000)")
    parser.add_argument("--n_resamples", type=int, default=200, help="bootstrap resamples of the utterances (200)")
    return parser.parse_args(argv)


def as_motifs(tokenizer: object, utterance: Utterance) -> Utterance:
    """The utterance with motifs in the place of its units."""
    lengths = np.array([len(units) for units in token_units(tokenizer)])
    ids = encode_units(tokenizer, utterance["units"])
    edges = token_edges(ids, lengths, utterance["durations"])
    return utterance | {"units": ids.tolist(), "durations": np.diff(edges).tolist()}


def held_phones(utterance: Utterance, phones: np.ndarray) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(motif, phones whose middle lies in it) of each occurrence; ``phones`` every 10 ms, 0 is silence."""
    edges = np.flatnonzero(np.diff(phones, prepend=-1, append=-1))
    middles, kinds = (edges[:-1] + edges[1:]) / 2, phones[edges[:-1]]
    middles, kinds = middles[kinds > 0], kinds[kinds > 0]
    ends = STEPS_A_FRAME * np.cumsum(utterance["durations"])
    places = np.searchsorted(middles, ends, side="left")
    for motif, start, stop in zip(utterance["units"], [0, *places], places):
        yield motif, tuple(kinds[start:stop].tolist())


def read_right(occurrences: dict[str, list[tuple[int, tuple[int, ...]]]]) -> tuple[float, float]:
    """Test phones in motifs that hold what they hold most often in train: of all, and of those that hold several."""
    seen: dict[int, Counter] = defaultdict(Counter)
    for motif, held in occurrences["train"]:
        seen[motif][held] += len(held) > 0
    wanted = {motif: counts.most_common(1)[0][0] for motif, counts in seen.items()}
    right, several = [], []
    for motif, held in occurrences["test"]:
        right += [wanted.get(motif) == held] * len(held)
        several += [wanted.get(motif) == held] * (len(held) if len(held) > 1 else 0)
    return float(np.mean(right)), float(np.mean(several)) if several else float("nan")


def find_occurrences(
    utterances: Sequence[Utterance], labels: PhoneLabels, *, turned: bool = False
) -> dict[str, list[tuple[int, tuple[int, ...]]]]:
    found: dict[str, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for utterance in utterances:
        n_steps = STEPS_A_FRAME * sum(utterance["durations"])
        phones = phones_at(labels, utterance["source"], utterance["start"], n_steps)
        if phones is not None:
            found[utterance["split"]] += held_phones(utterance, np.roll(phones, n_steps // 2) if turned else phones)
    return found


def judge(exp: Path, labels: PhoneLabels, *, vocab_size: int, n_resamples: int) -> dict[str, object]:
    """What there is to say about the motifs of one folder of units."""
    n_units = read_json(exp / "config.json")["derived"]["n_units"]
    corpus = list(read_corpus(exp / "corpus_timestamped.json"))
    train = (np.array(one["units"]) for one in corpus if one["split"] == "train")
    tokenizer = train_tokenizer(train, n_units=n_units, vocab_size=vocab_size)
    motifs = [as_motifs(tokenizer, utterance) for utterance in corpus]
    test = [one for one in motifs if one["split"] == "test"]
    n_spoken = sum(len(one["units"]) for one in corpus if one["split"] == "test")
    seconds = sum(sum(one["durations"]) for one in test) / UNIT_RATE
    ids = np.concatenate([one["units"] for one in test])
    labelled, _ = label_utterances(iter(test), labels)
    sizes = {"n_units": len(tokenizer), "n_phones": len(labels.names), "n_resamples": n_resamples, "seed": 0}
    summary = summarize_phones(labelled, **sizes)
    right, several = read_right(find_occurrences(motifs, labels))
    return {
        "exp": exp.name,
        "units_per_second": n_spoken / seconds,
        "motifs_per_second": len(ids) / seconds,
        "units_per_motif": n_spoken / len(ids),
        "bits_per_second": float(entropy_bits(np.bincount(ids))) * len(ids) / seconds,
        "phones_in_motifs_read_right": right,
        "of_motifs_with_several_phones": several,
        "phones_read_right_turned_round": read_right(find_occurrences(motifs, labels, turned=True))[0],
        "boundary_f1": as_json(summary.unit_boundaries.f1),
        "random_boundary_f1": as_json(summary.controls.random_cuts.f1),
        "pnmi": as_json(summary.pnmi),
        "pnmi_shuffled": as_json(summary.controls.pnmi),
    }


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    labels = read_phones(language_paths(args.language)["phones"])
    for exp in args.exp:
        found = judge(exp, labels, vocab_size=args.vocab_size, n_resamples=args.n_resamples)
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
