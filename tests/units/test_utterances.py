"""The utterances of phase 1 in memory: unit ids of any size."""

from pathlib import Path

import numpy as np

import pytest

from synthetic import write_segments, write_units
from units.corpus import frame_units, read_corpus
from units.utterances import load_utterances


@pytest.mark.parametrize(("n_units", "kind"), [(300, np.int16), (65_534, np.int32)])
def test_no_unit_becomes_padding(tmp_path: Path, n_units: int, kind: type) -> None:
    rows = write_segments(tmp_path / "data", n_train=1, n_val=1, n_test=0)
    corpus = write_units(tmp_path / "exp", rows, n_units=n_units, n_streams=2) / "corpus_timestamped.json"
    loaded = load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train", "val"])
    for utterance, entry in zip(loaded, read_corpus(corpus), strict=True):
        np.testing.assert_array_equal(utterance.frame_units, frame_units(entry))
        assert utterance.frame_units.dtype == kind and utterance.frame_units.min() >= 0
