"""The picture of a sweep: a line a setting, a point a penalty, scores against bits a second."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from core.files import write_atomically
from core.records import SweepRow

# What is drawn, where a sweep has it: key, label, factor.
PANELS = (
    ("pnmi", "PNMI", 1.0),
    ("abx_within", "ABX errors within speakers, %", 100.0),
    ("phone_boundary_f1", "boundary F1 of phones read", 1.0),
    ("unit_boundary_f1", "boundary F1 of units", 1.0),
    ("one_frame_runs_percent", "runs of one frame, %", 1.0),
    ("unit_error_rate_shift_10ms", "unit errors, shifted by 10 ms, %", 100.0),
    ("unit_error_rate_noise_20db", "unit errors, noise at 20 dB, %", 100.0),
)
LINE_KEYS = ("encoder", "layer", "cmn", "context", "normalize", "n_units")
X_KEY, X_LABEL = "bits_per_second_deduplicated", "bit/s, deduplicated"
PANEL_INCHES, COLUMNS = (3.1, 2.3), 2
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "oral-units"}
STYLE |= {"svg.fonttype": "none"}  # letters as letters: a file of a third of the size


def draw_sweep(rows: Sequence[SweepRow], folder: Path) -> None:
    """Write sweep.png and sweep.svg into ``folder``; penalties grow from right to left along each line."""
    panels = [panel for panel in PANELS if any(panel[0] in row for row in rows)]
    height = -(-len(panels) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * height + 1.0), layout="constrained")
        for place, (key, label, factor) in enumerate(panels, 1):
            _draw_panel(figure.add_subplot(height, COLUMNS, place), rows, key, label, factor)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
        FigureCanvasAgg(figure)
        for name, settings in (("sweep.png", {"dpi": 110}), ("sweep.svg", {"metadata": {"Date": None}})):
            kind = name.rpartition(".")[2]
            write_atomically(
                folder / name, lambda path, kind=kind, more=settings: figure.savefig(path, format=kind, **more)
            )


def _draw_panel(axes: Axes, rows: Sequence[SweepRow], key: str, label: str, factor: float) -> None:
    for number, (title, line) in enumerate(_lines(rows)):
        points = [(row[X_KEY], factor * row[key]) for row in line if key in row]
        xs, ys = zip(*points) if points else ((), ())
        axes.plot(xs, ys, marker="o", markersize=2.5, linewidth=1, color=f"C{number % 10}", label=title)
    axes.set_xlabel(X_LABEL)
    axes.set_title(label, fontsize=8)
    axes.grid(linewidth=0.4, alpha=0.5)


def _lines(rows: Sequence[SweepRow]) -> Iterator[tuple[str, list[SweepRow]]]:
    """(title, rows by growing penalty) of every setting but the penalty."""

    def line_key(row: SweepRow) -> list[str]:
        return [str(row[key]) if key != "n_units" else f"{row[key]:06d}" for key in LINE_KEYS]

    for _, group in groupby(sorted(rows, key=line_key), key=line_key):
        line = sorted(group, key=lambda row: row["duration_penalty"])
        yield _title(line[0]), line


def _title(row: SweepRow) -> str:
    parts = [Path(row["encoder"]).name, f"K {row['n_units']}", row["normalize"]]
    parts += [f"layer {row['layer']}"] if row["layer"] is not None else []
    parts += [f"context {row['context']}"] if row["context"] else []
    return ", ".join(parts + (["cmn"] if row["cmn"] else []))
