"""What is printed of the ABX errors of units."""

from units.abx import AbxScore
from units.abx_report import UnitAbx, abx_lines
from units.quality import Interval


def test_every_score_is_a_line_with_its_interval_in_percent() -> None:
    units = AbxScore(Interval(0.125, 0.1, 0.2), None, 9, 4)
    centroids = AbxScore(Interval(0.0625, None, None), Interval(0.25, 0.2, 0.3), 9, 4)
    nothing = AbxScore(None, None, 0, 0)
    assert abx_lines(UnitAbx("val", units, centroids, nothing)) == [
        "ABX errors within speakers on val, units: 12.5 [10.0, 20.0] %",
        "ABX errors within speakers on val, centroids: 6.2 %",
        "ABX errors across speakers on val, centroids: 25.0 [20.0, 30.0] %",
    ]
