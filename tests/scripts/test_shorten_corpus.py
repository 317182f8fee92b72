"""Corpora with less to train on: nested, within their minutes, val and test whole."""

import runpy

from synthetic import REPOSITORY

shorten = runpy.run_path(str(REPOSITORY / "scripts" / "bench" / "shorten_corpus.py"))["shorten"]
ROWS = [
    {"id": f"s{number}", "duration": 5.0, "split": ("train", "train", "val", "test")[number % 4], "flags": []}
    for number in range(48)
]


def names(seconds, split, rows=ROWS):
    return [row["id"] for row in shorten(rows, seconds, seed=0) if row["split"] == split]


def test_a_longer_corpus_holds_the_shorter_ones_and_none_is_too_long():
    assert set(names(20, "train")) < set(names(60, "train")) < set(names(1e9, "train"))
    assert len(names(20, "train")) == 4 and len(names(1e9, "train")) == 24


def test_val_and_test_stay_whole():
    assert len(names(20, "val")) == len(names(20, "test")) == 12


def test_flagged_segments_are_not_among_the_minutes():
    flagged = [row | {"flags": ["noise_or_music"] if row["split"] == "train" else []} for row in ROWS]
    assert not names(60, "train", flagged)
