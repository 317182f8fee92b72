"""Pictures: thinned curves, colours of the page, ids of their own."""

import re

import numpy as np

from report.plots import MAX_POINTS, Curve, plot_bars, plot_curves, plot_spectrogram, thin_curve
from synthetic import speech_like


def test_curves_are_thinned_and_not_finite_values_left_out() -> None:
    xs, ys = thin_curve(range(10_000), [1.0, float("nan")] * 5_000)
    assert len(xs) == MAX_POINTS and (ys == 1).all() and (np.diff(xs) > 0).all()
    curve = Curve("train", [0, 1], [2.0, 1.0], series=0, dashed=False)
    picture = plot_curves([curve], x_label="step", y_label="loss", name="c")
    assert "from 2 to 1, lowest 1" in picture.description
    assert "var(--series-1)" in picture.drawing and "var(--ink)" in picture.drawing
    assert not re.search(r"#0[0-9a-f]{5}\b", picture.drawing), "a placeholder colour was left in"


def test_a_spectrogram_shows_more_energy_where_there_is_more() -> None:
    loud, soft = speech_like(2.0), 0.01 * speech_like(2.0)
    assert plot_spectrogram(loud, title="a", name="a") != plot_spectrogram(soft, title="a", name="a")


def test_ids_and_links_of_a_picture_bear_its_name() -> None:
    drawing = plot_bars([1, 2], [3, 4], x_label="x", y_label="y", alternative="bars", name="u0").drawing
    assert re.search(r'\bid="', drawing)
    assert all(name.startswith("u0-") for name in re.findall(r'(?:\bid="|href="#|url\(#)([^")]*)', drawing))
