"""Where features come from: as many frames as are announced, whatever the source."""

from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.frames import SAMPLE_RATE
from speech_llm.feature_sources import (
    FeatureSource,
    frames_of_duration,
    open_cached_source,
    open_encoder_source,
    open_unit_source,
)
from synthetic import speech_like

# int(0.58 * 50) is 28 and round(0.375 * 50) is 19: neither is what the samples give.
SECONDS = (0.58, 0.375, 1.0, 2.37)


def items_of(seconds: tuple[float, ...] = SECONDS) -> list[dict]:
    waveforms = [speech_like(length, seed=place) for place, length in enumerate(seconds)]
    return [
        {"id": str(length), "hash": str(length), "duration": length, "load": lambda waveform=waveform: waveform}
        for length, waveform in zip(seconds, waveforms)
    ]


def open_cached(folder: Path, items: list[dict]) -> FeatureSource:
    options = {"encoder_id": "mfcc", "layer": None, "padding": "full", "precision": "fp32", "device": "cpu"}
    wanted = [(items[:2], (1.0, 1.1)), (items[2:], (1.0,))]
    return open_cached_source(folder, wanted, num_workers=1, rank=0, world=1, **options)


@pytest.mark.parametrize(("seconds", "n_frames"), [(0.58, 29), (0.375, 18), (2.37, 118), (0.001, 1), (0.0, 1)])
def test_frames_are_counted_in_samples(seconds: float, n_frames: int) -> None:
    assert frames_of_duration({"duration": seconds}) == n_frames


def test_every_source_announces_the_frames_it_gives(tmp_path: Path) -> None:
    items = items_of()
    cached = open_cached(tmp_path, items)
    encoding = open_encoder_source("mfcc", None, padding="full", precision="fp32", device="cpu")
    for item in items:
        rows = [source.read([item], [1.0])[0] for source in (cached, encoding)]
        assert [len(row) for row in rows] == [cached.count_frames(item), encoding.count_frames(item)]
        np.testing.assert_array_equal(*rows)
        assert rows[0].shape == (int(item["duration"] * SAMPLE_RATE) // 320, cached.in_dim)


def test_items_may_have_speeds_of_their_own(tmp_path: Path) -> None:
    items = items_of((2.0, 2.2))
    cached = open_cached(tmp_path, items)
    encoding = open_encoder_source("mfcc", None, padding="full", precision="fp32", device="cpu")
    assert [len(row) for row in encoding.read(items, [1.0, 1.1])] == [100, 100]
    for one, other in zip(cached.read(items, [1.1, 1.0]), encoding.read(items, [1.1, 1.0])):
        np.testing.assert_array_equal(one, other)


def test_items_without_features_are_left_out(tmp_path: Path) -> None:
    items = items_of()
    other = items[0] | {"id": "other", "hash": "other"}
    assert open_cached(tmp_path, items).keep_known([*items, other]) == items


def test_units_are_read_in_place_of_features(tiny_units: dict) -> None:
    items = [{"id": row["id"], "duration": row["duration"]} for row in tiny_units["rows"]]
    source = open_unit_source(tiny_units["units"], None, items, embedding_dim=7)
    assert (source.in_dim, source.n_units) == (7, 12)
    assert all(sequence.dtype == np.int64 for sequence in source.read(items, [1.0] * len(items)))
    with pytest.raises(UserError, match=r"none of 1 \(unknown…\); run phase 1"):
        open_unit_source(tiny_units["units"], None, [*items, {"id": "unknown"}], embedding_dim=7)
