"""scripts/bench/bench_levels.py: what counts as the same frame."""

import runpy

import numpy as np

from synthetic import REPOSITORY

same_frames = runpy.run_path(str(REPOSITORY / "scripts" / "bench" / "bench_levels.py"))["same_frames"]


def test_a_frame_is_the_same_where_all_its_streams_are():
    expected = np.array([[1, 7], [2, 8], [3, 9]])
    found = np.array([[1, 7], [2, 0], [0, 9]])
    assert same_frames(found, expected) == (1, 3)
    assert same_frames(expected, expected) == (3, 3)
