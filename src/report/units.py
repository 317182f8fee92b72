"""The report's part on units: what they are worth in numbers, how often each is used, how long it lasts."""

import numpy as np

from core.frames import UNIT_RATE
from report import plots
from report.data import count_units, unit_summary
from report.html import element, escape


def render_units(experiment: dict, name: str) -> str:
    """Tiles from unit_report.json where there is one, and two histograms from the corpus; ``name`` makes ids unique."""
    tiles = "".join(
        element("div", f"<b>{escape(value)}</b><span>{escape(label)}</span>", class_="tile")
        for value, label in unit_facts(experiment)
    )
    counted = count_units(experiment)
    figures = "" if counted is None else _usage_figure(counted[0], name) + _run_figure(counted[1], name)
    return element("div", tiles, class_="tiles") * bool(tiles) + element("div", figures, class_="grid") * bool(figures)


def unit_facts(experiment: dict) -> list[tuple[str, str]]:
    """(value, label) pairs of the whole corpus, with 95 % intervals where the report has them; [] without a report."""
    summary = unit_summary(experiment)
    if not summary:
        return []
    rates = summary["bits_per_second"]
    return [
        (f"{summary['used_units']} of {experiment['unit_report']['n_units']}", "units in use"),
        *_measured(summary["effective_units"], "effective units: 2 to the entropy"),
        *_measured(rates["frames"], "bits per second at 50 Hz"),
        *_measured(rates["deduplicated"], "bits per second, repeats merged"),
        (f"{summary['units_per_second']:.1f}", "units a second, repeats merged"),
        (f"{summary['run_frames']['mean'] * 1000 / UNIT_RATE:.0f} ms", "mean length of a unit"),
        (f"{summary['seconds'] / 60:.1f}", f"minutes in {summary['n_utterances']:,} utterances"),
    ]


def _measured(entry: dict, label: str) -> list[tuple[str, str]]:
    interval = "" if entry["low"] is None else f" [{entry['low']:.0f}, {entry['high']:.0f}]"
    return [(f"{entry['value']:.0f}", label + interval)]


def _usage_figure(usage: np.ndarray, name: str) -> str:
    share = np.sort(usage)[::-1] / max(usage.sum(), 1) * 100
    alternative = f"Share of the frames by unit, most frequent first: from {share[0]:.2f} % down to {share[-1]:.2f} %"
    labels = {"x_label": "unit, by rank", "y_label": "% of frames", "alternative": alternative}
    svg = plots.plot_bars(range(1, len(share) + 1), share, **labels, name=f"usage-{name}")
    return element("figure", svg + element("figcaption", "How often each unit is used"))


def _run_figure(runs: np.ndarray, name: str) -> str:
    share = runs / max(runs.sum(), 1) * 100
    alternative = (
        f"Share of the runs by length: {share[0]:.0f} % last one frame of 20 ms, "
        f"{share[-1]:.1f} % last {len(share)} frames or more"
    )
    labels = {"x_label": "length in frames of 20 ms", "y_label": "% of runs", "alternative": alternative}
    svg = plots.plot_bars(range(1, len(share) + 1), share, **labels, name=f"runs-{name}")
    return element(
        "figure", svg + element("figcaption", f"How long a unit lasts (the last bar: {len(share)} and more)")
    )
