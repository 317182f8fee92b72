"""Peak memory of phase 1 on 10 times and 100 times the data: it must not grow with the corpus.

The language's segments are listed again and again under new ids in a throw-away data root (the audio is linked, not
copied), phase 1 runs on each list in a process of its own, and its peak resident memory is read from the kernel. Exit
code 1 where the larger one is over --max_growth.

    python scripts/bench/bench_memory.py --language spanish
    python scripts/bench/bench_memory.py --language spanish --scales 1 10 -- --encoder openai/whisper-base --layer 4
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.records import Segment
from generator_cost import run_measured
from languages import REPOSITORY, add_language_flags, data_root, language_paths
from repeated_corpus import link_audio, repeat_manifest
from segmentation.manifest import read_manifest


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument(
        "--scales", type=int, nargs=2, default=(10, 100), help="how many times the data, small and large"
    )
    group.add_argument(
        "--max_growth", type=float, default=10.0, help="most growth of the peak from small to large (%%)"
    )
    group.add_argument("--work", type=Path, help="folder for the throw-away data root; by default a temporary one")
    parser.add_argument("phase1_flags", nargs="*", help="after '--': further flags for src/extract_units.py")
    return parse_flags(parser, argv)


class ScaleCost(NamedTuple):
    """What phase 1 cost on the data, ``scale`` times."""

    scale: int
    hours: float
    peak_mib: float
    cpu_seconds: float


def measure_scale(args: argparse.Namespace, rows: list[Segment], scale: int, root: Path) -> ScaleCost:
    """Phase 1 on the segments listed ``scale`` times, in a process of its own."""
    manifest = root / language_paths(args.language)["manifest"].relative_to(data_root())
    hours = repeat_manifest(rows, scale, manifest)
    environment = os.environ | {"DATA_ROOT": str(root), "EXP_ROOT": str(root / "exp")}
    flags = ["--language", args.language, "--tag", f"times{scale}", "--overwrite", "--quiet", *args.phase1_flags]
    found = run_measured([sys.executable, str(REPOSITORY / "src/extract_units.py"), *flags], environment)
    return ScaleCost(scale, hours, found["peak_mib"], found["cpu_seconds"])


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    rows = list(read_manifest(language_paths(args.language)["manifest"]))
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        link_audio(rows, Path(folder))
        found = [measure_scale(args, rows, scale, Path(folder)) for scale in args.scales]
    print("| data | hours | peak memory (MiB) | CPU (s) | × real time, CPU |\n|---|---|---|---|---|")
    for scale, hours, peak_mib, cpu_seconds in found:
        speed = 3600 * hours / cpu_seconds
        print(f"| {scale} × | {hours:.1f} | {peak_mib:.0f} | {cpu_seconds:.0f} | {speed:.0f} |")
    small, large = found
    growth = 100 * (large.peak_mib / small.peak_mib - 1)
    print(f"growth: {growth:+.1f} % (at most {args.max_growth:g} %)")
    return int(growth > args.max_growth)


if __name__ == "__main__":
    run_main(main)
