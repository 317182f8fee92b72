"""The report's training curves: what each run logged, against step and against wall time."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from report.data import Experiment
from report.plots import Curve, Picture, plot_curves

# key of metrics.jsonl: (label, factor)
X_AXES = {"step": ("step", 1.0), "seconds": ("minutes of training", 1 / 60)}
MAIN_CURVES = ("mel_nat",)  # curves shown openly; the others are folded away


class Figure(NamedTuple):
    """A picture and the line under it."""

    picture: Picture
    caption: str


def metric_keys(rows: Sequence[dict[str, float]]) -> list[str]:
    """Every numeric key of the log but step and seconds: validation first, then by name."""
    keys = {key for row in rows for key, value in row.items() if isinstance(value, int | float)} - {"step", "seconds"}
    return sorted(keys, key=lambda key: (not key.startswith("validation"), key))


def read_curve(rows: Sequence[dict[str, float]], key: str, x_key: str) -> tuple[list[float], list[float]]:
    """(x, y) of the rows that have a number under both keys."""
    pairs = [(row.get(x_key), row.get(key)) for row in rows]
    points = [pair for pair in pairs if all(isinstance(value, int | float) for value in pair)]
    return [x for x, _ in points], [y for _, y in points]


def curve_figures(experiments: Sequence[Experiment]) -> tuple[list[list[Figure]], list[list[Figure]]]:
    """Groups of figures to show openly, and groups to fold away; training and validation are in one picture."""
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for item in experiments for key in metric_keys(item.log)):
        groups.setdefault(re.sub(r"^(train|validation)_", "", key), []).append(key)
    shown, folded = [], []
    for stem, keys in groups.items():
        figures = [_curve_figure(experiments, stem, keys, x_key) for x_key in X_AXES]
        (shown if stem in MAIN_CURVES else folded).append([figure for figure in figures if figure])
    return (shown, folded) if shown else (folded, [])


def _curve_figure(experiments: Sequence[Experiment], stem: str, keys: Sequence[str], x_key: str) -> Figure | None:
    curves, (x_label, scale) = [], X_AXES[x_key]
    for index, item in enumerate(experiments):
        for key in keys:
            xs, ys = read_curve(item.log, key, x_key)
            if xs:
                label = key if len(experiments) == 1 else f"{item.name}: {key}"
                dashed = key.startswith("train_") and len(keys) > 1
                curves.append(Curve(label, [x * scale for x in xs], ys, index, dashed))
    if not curves:
        return None
    picture = plot_curves(curves, x_label=x_label, y_label=stem, name=f"curve-{stem}-{x_key}")
    return Figure(picture, f"{stem} by {x_label}")
