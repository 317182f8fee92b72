"""How long phase 2 takes and how much memory it needs: a synthetic corpus of any size, then the real script on it.

    python scripts/bench/bench_bpe.py --n_units_total 15e6 --work /tmp/bench_bpe

The corpus is a Markov chain with the statistics of real units: a few likely followers for each unit, uneven use, runs
of 1 to about 10 frames, utterances of up to 120 s (6,000 units).
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.files import read_json, write_json
from core.frames import UNIT_RATE
from core.records import Utterance
from languages import REPOSITORY
from units.corpus import write_corpus

CHAINS = 64  # utterances generated side by side
FOLLOWERS = 0.03  # Dirichlet concentration of a unit's followers: about 3 bits a unit
MEAN_EXTRA_FRAMES = 1.2  # of a run beyond its first frame


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("benchmark")
    group.add_argument("--n_units_total", type=float, default=15e6, help="deduplicated units in the train split")
    group.add_argument("--n_units", type=int, default=200, help="units of the alphabet")
    group.add_argument("--utterance_units", type=int, default=6000, help="units an utterance")
    group.add_argument("--vocab_size", type=int, default=500, help="tokens to fit")
    group.add_argument("--seed", type=int, default=0, help="seed of the corpus")
    group.add_argument("--work", type=Path, required=True, help="folder for the corpus and the result, replaced")
    return parse_flags(parser, argv)


def transition_table(n_units: int, rng: np.random.Generator) -> np.ndarray:
    """(n_units, n_units) cumulated probabilities of the next unit; a unit never follows itself."""
    table = rng.dirichlet(np.full(n_units, FOLLOWERS), size=n_units) * rng.dirichlet(np.ones(n_units)) + 1e-9
    np.fill_diagonal(table, 0)
    return np.cumsum(table / table.sum(1, keepdims=True), axis=1)


def synthetic_utterances(n_utterances: int, n_steps: int, n_units: int, seed: int) -> Iterator[Utterance]:
    """Utterances of the train split of up to ``n_steps`` units, as phase 1 writes them."""
    rng = np.random.default_rng(seed)
    table = transition_table(n_units, rng)
    for first in tqdm(range(0, n_utterances, CHAINS), desc="making units", disable=None):
        units = np.empty((min(CHAINS, n_utterances - first), n_steps), np.int64)
        state = rng.integers(0, n_units, len(units))
        for place in range(n_steps):
            state = np.minimum((table[state] < rng.random((len(units), 1))).sum(1), n_units - 1)
            units[:, place] = state
        durations = 1 + rng.poisson(MEAN_EXTRA_FRAMES, units.shape)
        for row in range(len(units)):
            # A rounding of the cumulated table could repeat a unit: phase 2 would refuse it.
            keep = np.insert(np.diff(units[row]) != 0, 0, True)
            yield {
                "id": f"u{first + row:06d}",
                "audio": f"synthetic/u{first + row:06d}.wav",
                "duration": float(durations[row][keep].sum() / UNIT_RATE),
                "split": "train",
                "unit_rate": UNIT_RATE,
                "units": units[row][keep].tolist(),
                "durations": durations[row][keep].tolist(),
            }


def main() -> None:
    args = parse_args()
    shutil.rmtree(args.work / "exp", ignore_errors=True)
    units = args.work / "exp" / "spanish_units"
    units.mkdir(parents=True)
    n_utterances = max(1, round(args.n_units_total / args.utterance_units))
    utterances = synthetic_utterances(n_utterances, args.utterance_units, args.n_units, args.seed)
    write_corpus(units / "corpus_timestamped.json", utterances)
    write_json(units / "config.json", {"derived": {"n_units": args.n_units, "n_streams": 1, "language": "spanish"}})
    write_json(units / "finished.json", {})
    environment = os.environ | {"EXP_ROOT": str(args.work / "exp"), "TAG": ""}
    flags = ["--language", "spanish", "--vocab_size", str(args.vocab_size)]
    began = time.perf_counter()
    subprocess.run([sys.executable, str(REPOSITORY / "src" / "train_bpe.py"), *flags], check=True, env=environment)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    train = read_json(args.work / "exp" / "spanish_bpe" / "finished.json")["splits"]["train"]
    print(
        f"{train['units']:,} units, {train['seconds'] / 3600:.1f} h: {seconds:.1f} s in all ({cpu:.1f} s of CPU), "
        f"peak memory {peak:.2f} GiB, {train['units_per_token']:.2f} units a token, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    run_main(main)
