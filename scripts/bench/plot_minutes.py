"""A picture: scores of voices or recognisers against the minutes of recordings that they were trained on.

    python scripts/bench/plot_minutes.py --out minutes.png --curve base 1=exp/a 3=exp/b --curve noise 1=exp/c 3=exp/d
    python scripts/bench/plot_minutes.py --out wer.png --curve head 5=a.json 10=b.json --level Whisper=whisper.json

Reads the scores.json that src/vocoder_test.py leaves in each experiment, or predictions as src/calculate_wer.py does
(case and punctuation left out). Bars are 95 % intervals over utterances.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.commands import as_typed
from core.errors import UserError
from core.files import read_json, write_atomically
from core.records import MetricScore
from core.text_normalisation import normalise_text
from evaluation.word_errors import count_errors, normalise_predictions, read_predictions, summarise_errors

PANELS = (("wer", "WER"), ("cer", "CER"), ("mos", "DistillMOS"), ("mel_distance_nat", "log-mel (nat)"))
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("picture")
    group.add_argument("--out", type=Path, required=True, help="the PNG to write")
    group.add_argument(
        "--curve",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "MINUTES=EXP"),
        help="one line of the picture: its name, then the experiments (or predictions) and their minutes",
    )
    group.add_argument(
        "--level", nargs="+", default=[], metavar="NAME=EXP", help="what was trained on none of it: a level line each"
    )
    return parse_flags(parser, argv)


def read_curve(words: Sequence[str]) -> tuple[str, dict[float, dict[str, MetricScore]]]:
    """NAME MINUTES=EXP … -> the name, and the metrics by minutes, shortest first."""
    name, *points = words
    curve = {}
    for point in points:
        minutes, _, exp = point.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", minutes):
            raise UserError(f"--curve {name} {point}: expected MINUTES=EXPERIMENT")
        curve[float(minutes)] = read_metrics(exp)
    return name, dict(sorted(curve.items()))


def read_level(text: str) -> tuple[str, dict[str, MetricScore]]:
    name, sign, exp = text.partition("=")
    if not sign:
        raise UserError(f"--level {text}: expected NAME=EXPERIMENT")
    return name, read_metrics(exp)


def read_metrics(exp: str) -> dict[str, MetricScore]:
    """The metrics of an experiment with scores.json, or WER and CER of a file of predictions."""
    if exp.endswith(".json"):
        rates = summarise_errors(count_errors(normalise_predictions(read_predictions(Path(exp)), normalise_text)))
        pairs = (("wer", rates.wer, rates.wer_ci), ("cer", rates.cer, rates.cer_ci))
        return {key: {"mean": mean, "low": low, "high": high} for key, mean, (low, high) in pairs}
    scores = Path(exp) / "scores.json"
    if not scores.is_file():
        command = as_typed("python", "src/vocoder_test.py", "--exp", exp)
        raise UserError(f"{scores}: expected scores, found none; run: {command}")
    return read_json(scores)["metrics"]


def draw(
    curves: Sequence[tuple[str, dict[float, dict[str, MetricScore]]]],
    path: Path,
    levels: Sequence[tuple[str, dict[str, MetricScore]]] = (),
) -> None:
    """Write ``path``: a panel for every metric that experiments have."""
    scores = [metrics for _, curve in curves for metrics in curve.values()]
    panels = [panel for panel in PANELS if sum(panel[0] in metrics for metrics in scores) > 1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * len(panels), 2.6), layout="constrained")
        for place, (key, label) in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), place)
            for name, curve in curves:
                points = [(minutes, metrics[key]) for minutes, metrics in curve.items() if key in metrics]
                if not points:
                    continue
                means = [score["mean"] for _, score in points]
                bars = [
                    [score["mean"] - score["low"] for _, score in points],
                    [score["high"] - score["mean"] for _, score in points],
                ]
                axes.errorbar(
                    [minutes for minutes, _ in points],
                    means,
                    yerr=bars,
                    marker="o",
                    markersize=3,
                    capsize=2,
                    label=name,
                )
            for number, (name, metrics) in enumerate(levels, len(curves)):
                if key in metrics:
                    axes.axhline(metrics[key]["mean"], color=f"C{number}", linestyle="--", linewidth=1, label=name)
            axes.set_xscale("log")
            axes.set_xlabel("minutes of recordings")
            axes.set_title(label, fontsize=8)
            axes.grid(linewidth=0.4, alpha=0.5)
            axes.set_xticks(sorted({minutes for _, curve in curves for minutes in curve}))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        figure.axes[0].legend(frameon=False)
        FigureCanvasAgg(figure)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def main() -> int:
    args = parse_args()
    draw([read_curve(words) for words in args.curve], args.out, [read_level(text) for text in args.level])
    return 0


if __name__ == "__main__":
    run_main(main)
