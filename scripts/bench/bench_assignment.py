"""What units with a duration penalty cost: CPU seconds on one core beside MFCC and the nearest centroids.

    python scripts/bench/bench_assignment.py --minutes 20 --n_units 256 1000

The audio is noise and the centroids are frames of its features: time depends on neither. It prints CPU seconds for an
hour of audio.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Set before NumPy loads: BLAS would add the seconds of several cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main  # noqa: E402
from core.frames import SAMPLE_RATE  # noqa: E402
from encoders.encode import encode, load_encoder  # noqa: E402
from units.assignment import assign, assign_smoothly, neighbour_distance  # noqa: E402

UTTERANCE_SECONDS = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("benchmark")
    group.add_argument("--minutes", type=float, default=20.0, help="of audio")
    group.add_argument("--n_units", type=int, nargs="+", default=[256, 1000], help="centroids")
    group.add_argument("--seed", type=int, default=0, help="of the noise")
    return parse_flags(parser, argv)


def cpu_seconds(work: Callable, *inputs: object, n_times: int) -> float:
    began = time.process_time()
    for _ in range(n_times):
        work(*inputs)
    return time.process_time() - began


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    rng, encoder = np.random.default_rng(args.seed), load_encoder("mfcc", None)
    n_utterances = max(1, round(args.minutes * 60 / UTTERANCE_SECONDS))
    waveform = rng.standard_normal(UTTERANCE_SECONDS * SAMPLE_RATE).astype(np.float32) * np.float32(0.1)
    to_an_hour = 3600 / (n_utterances * UTTERANCE_SECONDS)
    features = encode(encoder, [waveform])[0]
    seconds = cpu_seconds(encode, encoder, [waveform], n_times=n_utterances)
    print(f"MFCC: {seconds * to_an_hour:.1f} s of CPU an hour")
    for n_units in args.n_units:
        centroids = rng.standard_normal((n_units, features.shape[1])).astype(np.float32) * features.std(axis=0)
        centroids += features.mean(axis=0)
        nearest = cpu_seconds(assign, features, centroids, n_times=n_utterances)
        smooth = cpu_seconds(assign_smoothly, features, centroids, neighbour_distance(centroids), n_times=n_utterances)
        print(
            f"K = {n_units}: nearest {nearest * to_an_hour:.1f} s, with a penalty {smooth * to_an_hour:.1f} s of CPU "
            "an hour"
        )


if __name__ == "__main__":
    run_main(main)
