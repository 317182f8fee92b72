"""scripts/bench/bench_launch.py: what it makes of the times it measured."""

import pytest

from bench_launch import LaunchTimes, print_table, summarise


def test_the_overhead_is_the_median_less_that_of_the_direct_runs(capsys: pytest.CaptureFixture) -> None:
    direct = [LaunchTimes(0.0, first) for first in (3.0, 4.0, 9.0)]
    found = summarise([LaunchTimes(1.0, 5.0), LaunchTimes(2.0, 7.0), LaunchTimes(3.0, 6.0)], direct)
    assert found == (2.0, 6.0, 5.0, 7.0, 2.0, 3)
    print_table({"slurm": found})
    assert capsys.readouterr().out.splitlines()[-1] == "| slurm | 2.0 | 6.0 | 5.0–7.0 | 2.0 | 3 |"
