"""What a launcher costs: seconds from the submission to the first training step, beside the same command run here.

    python scripts/bench/bench_launch.py --language spanish --backends local slurm

Every run trains a small vocoder for one step on a finished phase 1, in exp/bench_launch_<backend>, and overwrites it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from languages import REPOSITORY, add_language_flags, exp_root, language_paths
from launching.backends import state_of
from launching.job import BACKENDS, ENDED, find_records

TRAINING = "--steps 1 --log_every 1 --channels 32 --adversarial_after 1 --num_samples 0 --cpu --overwrite".split()
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 900


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("benchmark")
    group.add_argument(
        "--backends", nargs="+", choices=BACKENDS[:3], default=["local"], help="engines to submit to, in turns"
    )
    group.add_argument("--repeats", type=int, default=5, help="runs of each; the order alternates")
    group.add_argument("--out", type=Path, help="JSON file for the numbers")
    args = parse_flags(parser, argv)
    require_positive(args, "repeats")
    return args


def measure(args: argparse.Namespace, backend: str | None) -> dict[str, float]:
    """``submit_seconds`` until the launcher returns, ``first_step_seconds`` until metrics.jsonl holds a row.

    ``backend`` None: the command itself, in a child of this process.
    """
    exp = exp_root() / f"bench_launch_{backend or 'direct'}"
    metrics = exp / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    command = ["src/trainer_vocoder.py", "--language", args.language, "--tag", args.tag, *TRAINING, "--exp", str(exp)]
    started = time.monotonic()
    if backend is None:
        child = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        submitted = 0.0
    else:
        launcher = [sys.executable, "scripts/launch.py", "submit", "--backend", backend, "--hours", "1"]
        done = subprocess.run([*launcher, "--", *command], check=False, cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"launch.py submit --backend {backend}: {done.stderr.strip()}")
        submitted = time.monotonic() - started
    while not metrics.exists() or not metrics.stat().st_size:
        if time.monotonic() - started > GIVE_UP_SECONDS:
            raise UserError(f"{metrics}: no step after {GIVE_UP_SECONDS} s; python scripts/launch.py logs {exp.name}")
        time.sleep(POLL_SECONDS)
    first_step = time.monotonic() - started
    if backend is None:
        child.wait()
    else:
        wait_for_end(exp.name)
    return {"submit_seconds": submitted, "first_step_seconds": first_step}


def wait_for_end(name: str) -> None:
    """The next run must not share the machine with the end of this one."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while state_of(find_records(name)[-1]) not in ENDED and time.monotonic() < give_up:
        time.sleep(0.5)


def summarise(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians, the range of the first step, and the overhead: its median less that of the direct run."""
    direct = statistics.median(run["first_step_seconds"] for run in runs["direct"])
    table = {}
    for name, measured in runs.items():
        first = [run["first_step_seconds"] for run in measured]
        table[name] = {
            "submit_seconds": statistics.median(run["submit_seconds"] for run in measured),
            "first_step_seconds": statistics.median(first),
            "first_step_seconds_min": min(first),
            "first_step_seconds_max": max(first),
            "overhead_seconds": statistics.median(first) - direct,
            "n": len(first),
        }
    return table


def main() -> None:
    args = parse_args()
    language_paths(args.language, args.tag)
    runs = {name: [] for name in ("direct", *args.backends)}
    measure(args, None)  # fills the page cache and the F0 cache
    for _ in range(args.repeats):
        for name, measured in runs.items():
            measured.append(measure(args, None if name == "direct" else name))
            print(
                f"{name}: {json.dumps({key: round(value, 2) for key, value in measured[-1].items()})}", file=sys.stderr
            )
    table = summarise(runs)
    print("| | submitted after (s) | first step after (s) | range | overhead (s) | n |\n|---|---|---|---|---|---|")
    for name, row in table.items():
        spread = f"{row['first_step_seconds_min']:.1f}–{row['first_step_seconds_max']:.1f}"
        print(
            f"| {name} | {row['submit_seconds']:.1f} | {row['first_step_seconds']:.1f} | {spread} | "
            f"{row['overhead_seconds']:.1f} | {row['n']} |"
        )
    if args.out:
        write_json(args.out, table)


if __name__ == "__main__":
    run_main(main)
