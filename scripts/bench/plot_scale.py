"""A picture: CPU seconds and memory of each phase against the hours of a corpus.

    python scripts/bench/plot_scale.py --points scale_100.json scale_2000.json --out scale.png

Reads what scripts/bench/bench_scale.py leaves with --out. Hours and seconds are logarithmic; the dotted line grows as
the hours do.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_atomically

# What is drawn: name, where it lies in a file of bench_scale.py, the keys of its CPU seconds and of its memory (MiB).
CURVES = (
    ("units, from sound", ("real", "units"), "cpu_seconds", "peak_mib"),
    ("motifs", ("real", "motifs"), "cpu_seconds", "peak_mib"),
    ("motifs, of lists", ("tokens",), "cpu_seconds", "peak_mib"),
    ("voice: first start", ("voice", "first"), "cpu_seconds_until_ready", "anonymous_mib"),
    ("voice: every other start", ("voice", "again"), "cpu_seconds_until_ready", "anonymous_mib"),
    ("prosody: start", ("prosody",), "cpu_seconds_until_ready", "anonymous_mib"),
)
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("picture")
    group.add_argument("--points", nargs="+", type=Path, required=True, help="files of bench_scale.py --out")
    group.add_argument("--out", type=Path, required=True, help="the PNG to write")
    return parse_flags(parser, argv)


def read_curves(found: Iterable[Mapping]) -> dict[str, list[tuple[float, float, float]]]:
    """(hours, CPU seconds, MiB) of every curve, fewest hours first."""
    curves = defaultdict(list)
    for measured in found:
        for name, keys, seconds, memory in CURVES:
            place = measured
            for key in keys:
                place = place.get(key, {})
            if place:
                hours = measured["real"]["hours"] if keys[0] == "real" else measured["hours"]
                curves[name].append((hours, place[seconds], place[memory]))
    return {name: sorted(points) for name, points in curves.items()}


def draw(curves: Mapping[str, Sequence[tuple[float, float, float]]], path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.8), layout="constrained")
        for place, label in enumerate(("CPU seconds", "memory (MiB)"), 1):
            axes = figure.add_subplot(1, 2, place)
            for name, points in curves.items():
                columns = list(zip(*points))
                axes.plot(columns[0], columns[place], "o-", markersize=3, linewidth=1, label=name)
            axes.set(xscale="log", xlabel="hours of speech", ylabel=label)
            if place == 2:
                axes.set_ylim(0)
            else:
                axes.set_yscale("log")
                axes.axline((100, 10), (1000, 100), color="grey", linestyle=":", linewidth=0.8)
                axes.legend(frameon=False, fontsize=7)
        write_atomically(path, lambda temporary: FigureCanvasAgg(figure).print_png(temporary))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    curves = read_curves(map(read_json, args.points))
    if not curves:
        raise UserError(f"--points: expected what bench_scale.py wrote, found no phase in {len(args.points)} files")
    draw(curves, args.out)


if __name__ == "__main__":
    run_main(main)
