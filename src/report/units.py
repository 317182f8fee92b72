"""The report's part on units: how often each is used, and how long it lasts."""

import numpy as np

from report.curves import Figure
from report.data import Experiment, count_units
from report.plots import plot_bars


def unit_figures(experiment: Experiment, name: str) -> list[Figure]:
    """Two histograms from the corpus, none where there is no corpus; ``name`` makes ids unique."""
    counted = count_units(experiment)
    if counted is None:
        return []
    usage, runs = counted
    return [_usage_figure(usage, name), _run_figure(runs, name)]


def _usage_figure(usage: np.ndarray, name: str) -> Figure:
    share = np.sort(usage)[::-1] / max(usage.sum(), 1) * 100
    alternative = f"Share of the frames by unit, most frequent first: from {share[0]:.2f} % down to {share[-1]:.2f} %"
    labels = {"x_label": "unit, by rank", "y_label": "% of frames", "alternative": alternative}
    picture = plot_bars(range(1, len(share) + 1), share, **labels, name=f"usage-{name}")
    return Figure(picture, "How often each unit is used")


def _run_figure(runs: np.ndarray, name: str) -> Figure:
    share = runs / max(runs.sum(), 1) * 100
    alternative = (
        f"Share of the runs by length: {share[0]:.0f} % last one frame of 20 ms, "
        f"{share[-1]:.1f} % last {len(share)} frames or more"
    )
    labels = {"x_label": "length in frames of 20 ms", "y_label": "% of runs", "alternative": alternative}
    picture = plot_bars(range(1, len(share) + 1), share, **labels, name=f"runs-{name}")
    return Figure(picture, f"How long a unit lasts (the last bar: {len(share)} and more)")
