"""How much faster phase 1 is with several processes (torchrun) than with one, at one thread each.

Both extract the same throw-away corpus in turn, --repeats times, so that a machine that is busy slows both; wall time
counts from the command to its end, imports and k-means included. They must write the same bytes. Exit code 1 where the
median ratio is below --least.

    python scripts/bench_processes.py --language spanish
    python scripts/bench_processes.py --language spanish --scale 10 -- --encoder facebook/hubert-base-ls960 --layer 6
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from cli import HELP_FORMATTER, add_language_flags, parse_flags, require_positive, run_main
from errors import UserError
from languages import REPOSITORY, data_root, language_paths
from units.manifest import read_manifest
from units.repeated import link_audio, repeat_manifest

CORPUS = "corpus_timestamped.json"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--processes", type=int, default=2, help="processes to compare with one")
    group.add_argument("--scale", type=int, default=20, help="how many times the language's data")
    group.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    group.add_argument("--least", type=float, default=1.6, help="lowest median of (time of one / time of several)")
    group.add_argument("--work", type=Path, help="folder for the throw-away data root; by default a temporary one")
    parser.add_argument("phase1_flags", nargs="*", help="after '--': further flags for src/extract_units.py")
    args = parse_flags(parser, argv)
    require_positive(args, "processes", "scale", "repeats", "least")
    return args


def time_extraction(args: argparse.Namespace, root: Path, n_processes: int) -> float:
    """Seconds of one whole extraction into ``root``/exp; one thread a process."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    flags = ["--language", args.language, "--tag", f"by{n_processes}", "--overwrite", "--quiet", "--num_workers", "1"]
    script = str(REPOSITORY / "src" / "extract_units.py")
    words = [sys.executable, *(several if n_processes > 1 else []), script, *flags, *args.phase1_flags]
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    environment = os.environ | threads | {"DATA_ROOT": str(root), "EXP_ROOT": str(root / "exp")}
    clock = time.monotonic()
    done = subprocess.run(words, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(words)}: exit code {done.returncode}; it said:\n{done.stderr[-2000:]}")
    return time.monotonic() - clock


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
        print(f"{hours:.1f} hours, {os.cpu_count()} cores\n| one (s) | {args.processes} (s) | ratio |\n|---|---|---|")
        ratios = []
        for _ in range(args.repeats):
            one, several = (time_extraction(args, root, n) for n in (1, args.processes))
            ratios.append(one / several)
            print(f"| {one:.1f} | {several:.1f} | {ratios[-1]:.2f} |", flush=True)
        first, second = read_corpora(args, root)
    if first != second:
        raise UserError(f"{CORPUS}: expected the same bytes from 1 and {args.processes} processes, found others")
    median = statistics.median(ratios)
    print(f"median ratio: {median:.2f}, from {min(ratios):.2f} to {max(ratios):.2f} (at least {args.least:g})")
    return int(median < args.least)


if __name__ == "__main__":
    run_main(main)
