"""What a launcher costs: seconds from the submission to the first training step, and for the same command run here.

    python scripts/bench/bench_launch.py --language spanish --backends local slurm

Every run trains a small vocoder for one step on a finished phase 1, in exp/bench_launch_<backend>, and overwrites it.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from languages import REPOSITORY, add_language_flags, exp_root, language_paths
from launching.backends import state_of
from launching.job import BACKENDS, END_STATES, find_records

TRAINING = "--steps 1 --log_every 1 --channels 32 --adversarial_after 1 --num_samples 0 --cpu --overwrite".split()
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 900


class LaunchTimes(NamedTuple):
    """Seconds since the command was given."""

    submit_seconds: float  # until the launcher returned
    first_step_seconds: float  # until metrics.jsonl held a row


class LaunchSummary(NamedTuple):
    """Medians of ``n`` runs, the range of the first step, and the overhead: its median less that of the direct run."""

    submit_seconds: float
    first_step_seconds: float
    first_step_seconds_min: float
    first_step_seconds_max: float
    overhead_seconds: float
    n: int


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
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


def measure(command: list[str], exp: Path, backend: str | None) -> LaunchTimes:
    """One run of ``command`` on an engine; ``backend`` None: in a child of this process."""
    metrics = exp / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    started = time.monotonic()
    if backend is None:
        child = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        submit_seconds = 0.0
    else:
        submit(command, backend)
        submit_seconds = time.monotonic() - started
    while not metrics.exists() or not metrics.stat().st_size:
        if time.monotonic() - started > GIVE_UP_SECONDS:
            raise UserError(f"{metrics}: no step after {GIVE_UP_SECONDS} s; python scripts/launch.py logs {exp.name}")
        time.sleep(POLL_SECONDS)
    first_step_seconds = time.monotonic() - started
    if backend is None:
        child.wait()
    else:
        wait_for_end(exp.name)
    return LaunchTimes(submit_seconds, first_step_seconds)


def submit(command: list[str], backend: str) -> None:
    words = [sys.executable, "scripts/launch.py", "submit", "--backend", backend, "--hours", "1", "--", *command]
    done = subprocess.run(words, check=False, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"launch.py submit --backend {backend}: {done.stderr.strip()}")


def wait_for_end(name: str) -> None:
    """The next run must not share the machine with the end of this one."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while state_of(find_records(name)[-1]) not in END_STATES and time.monotonic() < give_up:
        time.sleep(0.5)


def summarise(runs: list[LaunchTimes], direct_runs: list[LaunchTimes]) -> LaunchSummary:
    first_steps = [run.first_step_seconds for run in runs]
    median = statistics.median(first_steps)
    return LaunchSummary(
        submit_seconds=statistics.median(run.submit_seconds for run in runs),
        first_step_seconds=median,
        first_step_seconds_min=min(first_steps),
        first_step_seconds_max=max(first_steps),
        overhead_seconds=median - statistics.median(run.first_step_seconds for run in direct_runs),
        n=len(runs),
    )


def print_table(table: dict[str, LaunchSummary]) -> None:
    print("| | submitted after (s) | first step after (s) | range | overhead (s) | n |\n|---|---|---|---|---|---|")
    for name, row in table.items():
        spread = f"{row.first_step_seconds_min:.1f}–{row.first_step_seconds_max:.1f}"
        print(
            f"| {name} | {row.submit_seconds:.1f} | {row.first_step_seconds:.1f} | {spread} | "
            f"{row.overhead_seconds:.1f} | {row.n} |"
        )


def main() -> None:
    args = parse_args()
    language_paths(args.language, args.tag)
    command = ["src/trainer_vocoder.py", "--language", args.language, "--tag", args.tag, *TRAINING]

    def measure_here(name: str) -> LaunchTimes:
        exp = exp_root() / f"bench_launch_{name}"
        return measure([*command, "--exp", str(exp)], exp, None if name == "direct" else name)

    runs = {name: [] for name in ("direct", *args.backends)}
    measure_here("direct")  # fills the page cache and the F0 cache
    for _ in range(args.repeats):
        for name, measured in runs.items():
            times = measure_here(name)
            measured.append(times)
            said = "submitted after {:.2f} s, first step after {:.2f} s".format(*times)
            print(f"{name}: {said}", file=sys.stderr)
    table = {name: summarise(measured, runs["direct"]) for name, measured in runs.items()}
    print_table(table)
    if args.out:
        write_json(args.out, {name: row._asdict() for name, row in table.items()})


if __name__ == "__main__":
    run_main(main)
