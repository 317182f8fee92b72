"""The picture of costs against hours."""

import json
from pathlib import Path

import pytest

import plot_scale

from core.errors import UserError


def test_curves_lie_in_the_order_of_their_hours_and_are_drawn(tmp_path: Path) -> None:
    start = {"cpu_seconds_until_ready": 14.0, "anonymous_mib": 700.0}
    found = [{"hours": 2000.0, "voice": {"again": start | {"cpu_seconds_until_ready": 17.0}}}]
    found += [{"hours": 100.0, "voice": {"again": start}, "tokens": {"cpu_seconds": 5.0, "peak_mib": 300.0}}]
    found += [{"hours": 1.0, "real": {"hours": 1.1, "units": {"cpu_seconds": 18.0, "peak_mib": 1050.0}}}]
    curves = plot_scale.read_curves(found)
    assert curves["voice: every other start"] == [(100.0, 14.0, 700.0), (2000.0, 17.0, 700.0)]
    assert curves["units, from sound"] == [(1.1, 18.0, 1050.0)] and "voice: first start" not in curves
    for number, measured in enumerate(found):
        (tmp_path / f"{number}.json").write_text(json.dumps(measured))
    points = [str(path) for path in tmp_path.glob("*.json")]
    plot_scale.main(["--points", *points, "--out", str(tmp_path / "scale.png")])
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_without_a_phase_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"hours": 1}')
    with pytest.raises(UserError, match="expected what bench_scale.py wrote"):
        plot_scale.main(["--points", str(tmp_path / "a.json"), "--out", str(tmp_path / "scale.png")])
