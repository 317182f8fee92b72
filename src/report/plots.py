"""Figures of the report as inline SVG: no pyplot state, colours left to the page's style sheet (light and dark).

Axes: F frames at 50 Hz, M mel bands. Every function returns one Picture, whose ids are made unique by ``name``.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from audio.audio_io import compute_mel_spectrogram
from core.frames import UNIT_RATE

# Matplotlib needs colours it can parse: these stand in the SVG until they are replaced by the page's CSS variables.
INK, GRID = "#010203", "#010204"
SERIES = tuple(f"#0a0b{index:02x}" for index in range(1, 7))
MAX_POINTS = 400  # a curve is thinned to this many points: more cannot be told apart at the width of a page
MEL_LEVELS = 40  # grey levels of a spectrogram: fewer levels pack into a smaller PNG
LOG_MEL_RANGE = (-9.0, 2.0)  # natural log of mel amplitude, the same for every picture so that they compare
MEL_TICKS_HZ = (250, 1000, 2000, 4000)
LOWEST_LEVEL_DB = -90.0  # of full scale: the foot of a curve of levels
# Left and right edge of the plotting area as fractions of the width: the page's playhead relies on them.
PLOT_LEFT, PLOT_RIGHT = 0.11, 0.97
FOURTH_DIGIT = 0.03  # of the width
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "oral-units",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
    "image.composite_image": False,
} | {f"{part}.{kind}": INK for part, kind in (("axes", "edgecolor"), ("axes", "labelcolor"), ("text", "color"))}
STYLE |= {"xtick.color": INK, "ytick.color": INK}


class Picture(NamedTuple):
    """An SVG picture in parts: the page's template puts it together."""

    view_box: str
    description: str  # alternative text
    drawing: Markup  # what stands inside of ``<svg>``


class Curve(NamedTuple):
    """A line over a common axis."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int  # number of the experiment: its colour
    dashed: bool


class Row(NamedTuple):
    """Pieces that follow each other in time, such as the units of an utterance; P of them."""

    name: str  # of one piece, as "unit"
    edges: np.ndarray  # (P + 1,) s
    names: list[str]  # (P,)
    kinds: list[int | None]  # (P,) pieces of a kind share a colour; None: left blank


class PitchTrack(NamedTuple):
    """F0 of one recording, (F,) Hz with 0 = unvoiced."""

    label: str
    f0: np.ndarray
    series: int | None  # number of the experiment, None for the original


def series_colour(index: int) -> str:
    """The colour of experiment number ``index``; the originals are drawn in ink."""
    return SERIES[index % len(SERIES)]


def _new_axes(width: float, height: float, *, bottom: float, top: float = 0.04) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes([PLOT_LEFT, bottom, PLOT_RIGHT - PLOT_LEFT, 1 - bottom - top])
    return figure, axes


def _to_picture(figure: Figure, description: str, name: str) -> Picture:
    """Inline SVG: ids made unique by ``name``, colours turned into CSS variables, fonts left to the page."""
    out = io.BytesIO()
    FigureCanvasSVG(figure)
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue().decode("utf-8")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--line)")
    for index, colour in enumerate(SERIES, 1):
        svg = svg.replace(colour, f"var(--series-{index})")
    opening, drawing = re.sub(r"\n\s*", "\n", svg).strip().removesuffix("</svg>").split(">", 1)
    return Picture(re.search(r'viewBox="([^"]*)"', opening).group(1), description, Markup(drawing))


def thin_curve(xs: Sequence[float], ys: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS points: means of consecutive blocks; values that are not finite are left out."""
    points = np.array([(x, y) for x, y in zip(xs, ys) if math.isfinite(x) and math.isfinite(y)], float).reshape(-1, 2)
    if len(points) > MAX_POINTS:
        points = np.array([block.mean(axis=0) for block in np.array_split(points, MAX_POINTS)])
    return points[:, 0], points[:, 1]


def plot_curves(curves: Sequence[Curve], *, x_label: str, y_label: str, name: str) -> Picture:
    """Lines over a common axis."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _new_axes(4.6, 2.5, bottom=0.19)
        for curve in curves:
            xs, ys = thin_curve(curve.xs, curve.ys)
            style = {"linewidth": 1.0, "linestyle": (0, (3, 2))} if curve.dashed else {"linewidth": 1.6}
            marker = "o" if len(xs) == 1 else None
            axes.plot(
                xs, ys, color=series_colour(curve.series), label=curve.label, marker=marker, markersize=3, **style
            )
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(x_label)
        axes.tick_params(length=2)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8, loc="best", labelcolor=INK)
        ends = "; ".join(_describe_curve(curve) for curve in curves)
        return _to_picture(figure, f"{y_label} against {x_label}. {ends}.", name)


def _describe_curve(curve: Curve) -> str:
    _, ys = thin_curve(curve.xs, curve.ys)
    if not len(ys):
        return f"{curve.label}: no finite value"
    return f"{curve.label}: from {ys[0]:.4g} to {ys[-1]:.4g}, lowest {ys.min():.4g}"


def plot_spectrogram(waveform: np.ndarray, *, title: str, name: str) -> Picture:
    """Log-mel picture of (S,) float32 at 16 kHz, low frequencies below; the same scale for every picture."""
    mel = compute_mel_spectrogram(torch.from_numpy(np.ascontiguousarray(waveform, np.float32))[None])[0].numpy()
    low, high = LOG_MEL_RANGE
    levels = np.round((np.clip(mel, low, high) - low) / (high - low) * (MEL_LEVELS - 1)) / (MEL_LEVELS - 1)
    with matplotlib.rc_context(STYLE):
        figure, axes = _new_axes(4.2, 1.7, bottom=0.2)
        extent = (0, mel.shape[1] / UNIT_RATE, 0, mel.shape[0])
        axes.imshow(
            levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=0, vmax=1, interpolation="none"
        )
        axes.set_yticks([_mel_band(hertz, mel.shape[0]) for hertz in MEL_TICKS_HZ])
        axes.set_yticklabels([f"{hertz / 1000:g} k" for hertz in MEL_TICKS_HZ])
        axes.set_xlabel("seconds", labelpad=1)
        axes.tick_params(length=2)
        return _to_picture(figure, f"Spectrogram of {title}, 0 to 8 kHz, {len(waveform) / 16000:.1f} seconds", name)


def _mel_band(hertz: float, n_mels: int) -> float:
    """Where a frequency lies on the axis of slaney mel bands from 0 to 8000 Hz."""

    def mel(frequency: float) -> float:
        return 3 * frequency / 200 if frequency < 1000 else 15 + 27 * math.log(frequency / 1000) / math.log(6.4)

    return mel(hertz) / mel(8000) * n_mels


def plot_rows(rows: Sequence[Row], *, seconds: float, title: str, name: str) -> Picture:
    """Rows of coloured pieces under each other, on the time axis of ``plot_spectrogram``; wide pieces are named."""
    with matplotlib.rc_context(STYLE):
        height = 0.06 + 0.16 * len(rows)
        figure, axes = _new_axes(4.2, height, bottom=0.04)
        for level, row in enumerate(rows):
            _draw_row(axes, row, -level)
        axes.set_xlim(0, seconds)
        axes.set_ylim(-len(rows), 0)
        axes.set_xticks([])
        axes.set_yticks([-level - 0.5 for level in range(len(rows))])
        axes.set_yticklabels([f"{row.name}s" for row in rows])
        axes.tick_params(length=0, labelsize=7)
        for side in axes.spines.values():
            side.set_visible(False)
        return _to_picture(figure, title, name)


def _draw_row(axes: Axes, row: Row, top: float) -> None:
    """One row from ``top`` - 1 to ``top``; neighbours of the same colour differ in strength."""
    widths = np.diff(row.edges)
    groups: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for kind, start, width in zip(row.kinds, row.edges, widths):
        if kind is not None:
            colour = (series_colour(kind), 0.35 + 0.2 * (kind // len(SERIES) % 3))
            groups.setdefault(colour, []).append((start, width))
    for (colour, strength), spans in sorted(groups.items()):
        axes.broken_barh(spans, (top - 0.95, 0.9), facecolors=colour, alpha=strength, linewidth=0)


def plot_pitch(tracks: Sequence[PitchTrack], *, title: str, name: str) -> Picture:
    """F0 tracks over each other."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _new_axes(4.2, 1.7, bottom=0.2, top=0.13)
        for label, f0, series in tracks:
            voiced = np.where(f0 > 0, f0, np.nan)
            colour, width = (INK, 2.2) if series is None else (series_colour(series), 1.2)
            axes.plot(np.arange(len(f0)) / UNIT_RATE, voiced, color=colour, linewidth=width, label=label)
        axes.set_xlim(0, max(len(f0) for _, f0, _ in tracks) / UNIT_RATE)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_ylabel("F0, Hz", labelpad=1)
        axes.set_xlabel("seconds", labelpad=1)
        axes.tick_params(length=2)
        # Above the axes: inside, it would hide the track.
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "borderpad": 0, "ncols": min(len(tracks), 3)}
        axes.legend(frameon=False, fontsize=7, labelcolor=INK, **place)
        medians = "; ".join(f"{label}: {_median_pitch(f0)}" for label, f0, _ in tracks)
        return _to_picture(figure, f"Pitch (F0) of {title}. {medians}.", name)


def _median_pitch(f0: np.ndarray) -> str:
    return f"median {np.median(f0[f0 > 0]):.0f} Hz, {np.mean(f0 > 0):.0%} voiced" if (f0 > 0).any() else "no voice"


def plot_bars(
    positions: Sequence[float], heights: Sequence[float], *, x_label: str, y_label: str, alternative: str, name: str
) -> Picture:
    """A histogram: one step outline filled to zero, compact however many bars there are."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _new_axes(4.6, 2.1, bottom=0.22)
        if max(heights) >= 1000:  # four digits need room beside the label
            axes.set_position([PLOT_LEFT + FOURTH_DIGIT, 0.22, PLOT_RIGHT - PLOT_LEFT - FOURTH_DIGIT, 0.74])
        width = positions[1] - positions[0] if len(positions) > 1 else 1.0
        edges = np.append(np.asarray(positions, float), positions[-1] + width) - width / 2
        axes.stairs(np.asarray(heights, float), edges, fill=True, color=SERIES[0])
        axes.grid(color=GRID, linewidth=0.6, axis="y")
        axes.set_axisbelow(True)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label, labelpad=1)
        axes.tick_params(length=2)
        return _to_picture(figure, alternative, name)


def plot_level(
    levels: Sequence[float], seconds: float, *, marks: Sequence[tuple[str, float]], title: str, name: str
) -> Picture:
    """The level of a recording over time, dB of full scale, with a dashed line for each of ``marks`` (label, dB)."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _new_axes(4.6, 1.5, bottom=0.24, top=0.16)
        times = np.linspace(0, seconds, len(levels))
        axes.fill_between(times, levels, LOWEST_LEVEL_DB, color=SERIES[0], linewidth=0)
        for number, (label, level) in enumerate(marks, 1):
            axes.axhline(level, color=SERIES[number], linewidth=1, linestyle=(0, (4, 2)), label=label)
        axes.set_xlim(0, max(seconds, 0.01))
        axes.set_ylim(LOWEST_LEVEL_DB, 0)
        axes.set_yticks(range(-80, 1, 20))
        axes.grid(color=GRID, linewidth=0.6, axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("seconds", labelpad=1)
        axes.tick_params(length=2)
        if marks:
            # Above the axes: inside, it would hide the curve.
            place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "borderpad": 0, "ncols": len(marks)}
            axes.legend(frameon=False, fontsize=7, labelcolor=INK, **place)
        described = "; ".join(f"{label} {level:.0f} dB" for label, level in marks)
        return _to_picture(figure, f"Level of {title} over {seconds:.0f} seconds. {described}", name)
