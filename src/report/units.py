"""The report's part on units: how often each is used, and how long it lasts."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from core.records import SPLITS
from report.curves import Figure
from report.data import Experiment, count_units
from report.plots import plot_bars
from units.corpus import read_corpus


class SpeakerRow(NamedTuple):
    """How long a speaker speaks in the corpus."""

    name: str
    minutes: list[float]  # of train, val and test
    total: float  # minutes
    n_flagged: int  # segments of noise, music or overlapping speech


def unit_figures(experiment: Experiment, name: str) -> list[Figure]:
    """Two histograms from the corpus, none where there is no corpus; ``name`` makes ids unique."""
    counted = count_units(experiment)
    if counted is None:
        return []
    usage, runs = counted
    return [_usage_figure(usage, name), _run_figure(runs, name)]


def speaker_rows(experiment: Experiment) -> list[SpeakerRow]:
    """The speakers of the corpus, the most minutes first; none where it names nobody."""
    corpus = experiment.units_path / "corpus_timestamped.json" if experiment.units_path else None
    if corpus is None or not corpus.is_file():
        return []
    seconds: dict[str, Counter[str]] = {}
    flagged = Counter()
    for entry in read_corpus(corpus):
        name = entry.get("speaker") or ""
        seconds.setdefault(name, Counter())[entry["split"]] += entry["duration"]
        flagged[name] += bool(entry.get("flags"))
    if not any(seconds):
        return []
    rows = [
        SpeakerRow(name or "not named", [spoken[split] / 60 for split in SPLITS], spoken.total() / 60, flagged[name])
        for name, spoken in seconds.items()
    ]
    return sorted(rows, key=lambda row: (-row.total, row.name))


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
