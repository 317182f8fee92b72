"""Our phone scores beside those of the package that defines them: discophon.

It needs Python 3.12, so it lives in an environment of its own: python3.12 -m venv OTHER, then OTHER/bin/pip install
discophon fastabx rapidfuzz.

    OTHER/bin/python scripts/bench/independent_scores.py                      # a made example: the numbers of the tests
    OTHER/bin/python scripts/bench/independent_scores.py --exp exp/russian_units_k100 --phones data/russian/phones.tsv
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np

from units.corpus import read_corpus
from units.phone_labels import read_phones
from units.phone_report import LabelledUtterance, label_utterances, summarize_phones

N_UNITS, N_PHONES = 12, 6  # of the example; phone 0 is the silence


def make_example(seed: int = 0, n_utterances: int = 5) -> list[LabelledUtterance]:
    """Phones of 30 to 200 ms, and units that hold them two times of three, on frames of 20 ms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n_utterances):
        phones = np.repeat(rng.integers(N_PHONES, size=40), rng.integers(3, 21, size=40))
        phones = phones[: len(phones) // 2 * 2]
        units = phones[::2] * 2 + rng.integers(2, size=len(phones) // 2)
        noise = rng.random(len(units)) < 1 / 3
        found.append(LabelledUtterance("test", np.where(noise, rng.integers(N_UNITS, size=len(units)), units), phones))
    return found


def our_scores(utterances: list[LabelledUtterance], n_units: int, n_phones: int) -> dict[str, float]:
    found = summarize_phones(utterances, n_units=n_units, n_phones=n_phones, n_resamples=0, seed=0)
    read = found.phone_boundaries
    scores = {"pnmi": found.pnmi, "per": found.phone_error_rate, "f1": read.f1, "r_val": read.r_value}
    return {name: interval.value for name, interval in scores.items()}


def discophon_scores(utterances: list[LabelledUtterance], n_units: int, n_phones: int) -> dict[str, float]:
    from discophon.evaluate import phoneme_discovery

    units = {str(place): one.frame_units.tolist() for place, one in enumerate(utterances)}
    phones = {str(place): [f"p{phone}" for phone in one.phones] for place, one in enumerate(utterances)}
    settings = {"kind": "many-to-one", "step_units": 20, "step_phones": 10}
    return phoneme_discovery(units, phones, n_units=n_units, n_phonemes=n_phones - 1, **settings)


def read_labelled(exp: Path, phones: Path) -> tuple[list[LabelledUtterance], int, int]:
    """The utterances with phones of a phase 1 folder, its number of units, and the number of phones."""
    labels = read_phones(phones)
    n_units = json.loads((exp / "config.json").read_text(encoding="utf-8"))["derived"]["n_units"]
    return label_utterances(read_corpus(exp / "corpus_timestamped.json"), labels)[0], n_units, len(labels.names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, default=None, help="a phase 1 folder; by default a made example")
    parser.add_argument("--phones", type=Path, default=None, help="the table of phones of its language")
    args = parser.parse_args()
    if (args.exp is None) != (args.phones is None):
        parser.error("expected --exp and --phones together, found one of them")
    example = (make_example(), N_UNITS, N_PHONES) if args.exp is None else read_labelled(args.exp, args.phones)
    print(json.dumps({"ours": our_scores(*example), "discophon": discophon_scores(*example)}, indent=1))


if __name__ == "__main__":
    main()
