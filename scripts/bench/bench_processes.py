"""How much faster phase 1 is with several processes (torchrun) than with one, at one thread each.

Both extract the same throw-away corpus in turn, --repeats times, and must write the same bytes. Time counts from the
command to its end, imports and the fit of k-means, which one process does alone, included: a short corpus, or few hours
of mfcc, measure those. Beside the wall time stands the CPU time of the process that used most: on an idle machine they
agree, and on a busy one the CPU time still says what the work came to. Exit code 1 where the median ratio of wall times
is below --least.

    python scripts/bench/bench_processes.py --language spanish --scale 40
    python scripts/bench/bench_processes.py --language spanish -- --encoder openai/whisper-base --layer 4
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from languages import REPOSITORY, add_language_flags, data_root, language_paths
from repeated_corpus import link_audio, repeat_manifest
from segmentation.manifest import read_manifest

CORPUS = "corpus_timestamped.json"
POLL_SECONDS = 0.1


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--processes", type=int, default=2, help="processes to compare with one")
    group.add_argument("--scale", type=int, default=1, help="how many times the language's data")
    group.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    group.add_argument("--least", type=float, default=1.6, help="lowest median of (time of one / time of several)")
    group.add_argument("--work", type=Path, help="folder for the throw-away data root; by default a temporary one")
    parser.add_argument("phase1_flags", nargs="*", help="after '--': further flags for src/extract_units.py")
    args = parse_flags(parser, argv)
    require_positive(args, "processes", "scale", "repeats", "least")
    return args


def time_extraction(args: argparse.Namespace, root: Path, n_processes: int) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of the busiest process, of one extraction into ``root``/exp; one thread each."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    flags = ["--language", args.language, "--tag", f"by{n_processes}", "--overwrite", "--quiet", "--num_workers", "1"]
    script = str(REPOSITORY / "src" / "extract_units.py")
    words = [sys.executable, *(several if n_processes > 1 else []), script, *flags, *args.phase1_flags]
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    environment = os.environ | threads | {"DATA_ROOT": str(root), "EXP_ROOT": str(root / "exp")}
    clock, busiest, screen = time.monotonic(), 0.0, root / "screen.txt"
    with open(screen, "w") as output:
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=output)
    while process.poll() is None:
        busiest = max(busiest, *map(cpu_seconds, [process.pid, *children(process.pid)]))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        tail = screen.read_text(errors="replace")[-2000:]
        print(tail, file=sys.stderr)
        raise UserError(
            f"{' '.join(words)}: expected exit code 0, found {process.returncode}; its last words are above"
        )
    return time.monotonic() - clock, busiest


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # ended, or not Linux
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_corpora(args: argparse.Namespace, root: Path) -> list[bytes]:
    tags = [f"by{n}" for n in (1, args.processes)]
    names = [language_paths(args.language, tag)["units"].name for tag in tags]
    return [(root / "exp" / name / CORPUS).read_bytes() for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    rows = list(read_manifest(language_paths(args.language)["manifest"]))
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        root = Path(folder)
        link_audio(rows, root)
        manifest = root / language_paths(args.language)["manifest"].relative_to(data_root())
        hours = repeat_manifest(rows, args.scale, manifest)
        print(f"{hours:.1f} hours, {os.cpu_count()} cores")
        print(f"| one (s) | CPU (s) | {args.processes} (s) | CPU of the busiest (s) | ratio | ratio of CPU |")
        print("|---|---|---|---|---|---|", flush=True)
        ratios = []
        for _ in range(args.repeats):
            one, several = (time_extraction(args, root, n) for n in (1, args.processes))
            ratios.append([alone / shared for alone, shared in zip(one, several)])
            print(f"| {' | '.join([*(f'{s:.1f}' for s in (*one, *several)), *(f'{r:.2f}' for r in ratios[-1])])} |")
            sys.stdout.flush()
        first, second = read_corpora(args, root)
    if first != second:
        raise UserError(f"{CORPUS}: expected the same bytes from 1 and {args.processes} processes, found others")
    wall, cpu = (sorted(found) for found in zip(*ratios))
    for name, found in (("wall", wall), ("CPU", cpu)):
        median = statistics.median(found)
        print(f"median ratio, {name}: {median:.2f}, from {found[0]:.2f} to {found[-1]:.2f} (at least {args.least:g})")
    return int(statistics.median(wall) < args.least)


if __name__ == "__main__":
    run_main(main)
