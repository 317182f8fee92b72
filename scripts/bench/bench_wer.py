"""How long calculate_wer.py takes and how much memory it needs, on any number of made-up utterances.

    python scripts/bench/bench_wer.py --n_utterances 100000

Sentences of 1 to 25 words from a vocabulary of 3,000; of the words, one in ten is replaced and one in twenty left out.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.files import read_json, write_json
from evaluation.text_errors import NORMALISERS
from languages import REPOSITORY

LETTERS = "abcdefghijklmnopqrstuvwxyz"
N_WORDS = 3000
REPLACED_SHARE, OMITTED_SHARE = 0.10, 0.05  # of the words
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("benchmark")
    group.add_argument("--n_utterances", type=int, default=100_000, help="utterances of an experiment")
    group.add_argument(
        "--n_experiments", type=int, default=1, help="experiments; the others are compared with the first"
    )
    group.add_argument("--normaliser", choices=NORMALISERS, default="none", help="as of calculate_wer.py")
    group.add_argument("--seed", type=int, default=0, help="seed of the sentences")
    args = parse_flags(parser, argv)
    require_positive(args, "n_utterances", "n_experiments")
    return args


def make_references(n_utterances: int, draw: random.Random) -> list[list[str]]:
    words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(N_WORDS)]
    return [draw.choices(words, k=draw.randint(1, 25)) for _ in range(n_utterances)]


def make_predictions(references: list[list[str]], draw: random.Random) -> list[dict[str, str]]:
    """What a recogniser with these error rates would have written."""
    known = references[0]
    rows = []
    for number, reference in enumerate(references):
        spoken = [word for word in reference if draw.random() >= OMITTED_SHARE]
        heard = [draw.choice(known) if draw.random() < REPLACED_SHARE else word for word in spoken]
        rows.append({"id": f"u{number:07d}", "reference": " ".join(reference), "hypothesis": " ".join(heard)})
    return rows


def main() -> None:
    args = parse_args()
    draw = random.Random(args.seed)
    references = make_references(args.n_utterances, draw)
    with tempfile.TemporaryDirectory() as folder:
        inputs = [str(Path(folder) / f"{number}.json") for number in range(args.n_experiments)]
        for path in inputs:
            write_json(Path(path), make_predictions(references, draw))
        scores = Path(folder) / "scores.json"
        flags = ["--normaliser", args.normaliser, "--worst", "0", "--json", str(scores), "--input", *inputs]
        command = [sys.executable, str(REPOSITORY / "src" / "calculate_wer.py"), *flags]
        began = time.perf_counter()
        subprocess.run(command, check=True, env=os.environ | dict.fromkeys(THREADS, "1"))
        seconds = time.perf_counter() - began
        words = sum(score["n_words"] for score in read_json(scores).values())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{args.n_experiments} x {args.n_utterances:,} utterances, {words:,} words: {seconds:.1f} s "
        f"({used.ru_utime + used.ru_stime:.1f} s of CPU), peak memory {used.ru_maxrss / 2**20:.2f} GiB, one thread"
    )


if __name__ == "__main__":
    run_main(main)
