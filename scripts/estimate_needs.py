"""Say what a run of the whole chain needs in disk and time, from the size of the data; too little disk is an error.

Reads the segments or recordings of a language; writes nothing. run_all.sh runs it first.

    python scripts/estimate_needs.py --language spanish --max_minutes 4

The rates are those of Spanish on two cores of a busy server CPU; an encoder's and a GPU's are rough guesses.
More: docs/usage.md.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

import torch

import av

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.estimates import TEST_SHARE, phase_minutes, spoken_time
from core.frames import SAMPLE_RATE
from encoders.table import stays_on_cpu
from languages import add_language_flags, exp_root, language_paths
from segmentation.recordings import list_sources

RECIPE_HOURS = 0.6  # of speech: what a small recipe prepares where nothing is there yet
PROBED_FILES = 40
MEGABYTE = 1e6
CHECKPOINT_MEGABYTES = 200  # latest and best, each with averaged weights and optimiser
LONG_MINUTES = 180  # of training, from which on a shorter one is named


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("run")
    group.add_argument("--encoder", default="mfcc", help="phase 1's encoder")
    group.add_argument("--max_minutes", type=float, help="phase 3's budget in minutes")
    group.add_argument("--steps", type=int, help="phase 3's budget in steps")
    group.add_argument("--epochs", type=float, help="phase 3's budget in passes over the training split")
    return parse_flags(parser, argv)


def measure_hours(paths: dict[str, Path]) -> tuple[float, str]:
    """Hours of audio and where the figure comes from: the manifest, else the raw files, else a small recipe's size."""
    if paths["manifest"].exists():
        with open(paths["manifest"], encoding="utf-8") as lines:
            return sum(json.loads(line)["duration"] for line in lines if line.strip()) / 3600, "in segments"
    files = list(list_sources(paths["raw"]).values())
    if files:
        return probe_hours(files), f"in {len(files)} recordings"
    return RECIPE_HOURS, "expected from the recipe"


def probe_hours(files: list[Path]) -> float:
    """Hours in ``files``, from the lengths that an even sample of them states and from the bytes of all."""
    seconds = n_bytes = 0.0
    for path in files[:: max(1, len(files) // PROBED_FILES)]:
        try:
            with av.open(str(path)) as container:
                seconds += (container.duration or 0) / av.time_base
                n_bytes += path.stat().st_size
        except av.FFmpegError:
            continue
    total = sum(path.stat().st_size for path in files)
    return total * seconds / max(n_bytes, 1.0) / 3600


def estimate_megabytes(hours: float) -> float:
    """Segments as PCM16, raw files and resynthesis beside them, two checkpoints."""
    segments = hours * 3600 * SAMPLE_RATE * 2 / MEGABYTE
    return segments * (1.3 + 2 * TEST_SHARE) + CHECKPOINT_MEGABYTES


def estimate_minutes(args: argparse.Namespace, hours: float, device: str) -> dict[str, float]:
    """Minutes of each part of the chain."""
    budget = {name: getattr(args, name) for name in ("max_minutes", "steps", "epochs")}
    return phase_minutes(hours, device=device, cheap_encoder=stays_on_cpu(args.encoder), **budget)


def existing_parent(path: Path) -> Path:
    return path if path.exists() else existing_parent(path.parent)


def main() -> None:
    args = parse_args()
    paths = language_paths(args.language, args.tag)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    hours, source = measure_hours(paths)
    needed = estimate_megabytes(hours)
    parts = estimate_minutes(args, hours, device)
    print(f"{args.language}: {hours:.1f} hours of audio {source}; {os.cpu_count()} cores, device {device}")
    print(f"needs about {needed / 1000:.1f} GB of disk and {spoken_time(sum(parts.values()))}:", end=" ")
    print(", ".join(f"{name} {spoken_time(minutes)}" for name, minutes in parts.items()))
    if parts["training"] > LONG_MINUTES:
        print("a shorter training: PHASE3_ARGS='--max_minutes 60'")
    for place in {existing_parent(paths["data"]), existing_parent(exp_root())}:
        free = shutil.disk_usage(place).free / MEGABYTE
        if free < needed:
            raise UserError(
                f"{place}: expected {needed / 1000:.1f} GB of free disk, found {free / 1000:.1f}; make room or set "
                "DATA_ROOT and EXP_ROOT to another disk"
            )


if __name__ == "__main__":
    run_main(main)
