"""The utterances of phase 1: unit ids of any size, F0 of those that are asked for."""

from pathlib import Path

import numpy as np

import pytest

from audio.pitch import f0_store
from audio.track_store import count_stored_frames
from core.errors import UserError
from core.packed_files import name_key
from synthetic import write_segments, write_units
from units.corpus import frame_units, read_corpus, write_corpus
from units.utterances import load_utterances


@pytest.mark.parametrize(("n_units", "kind"), [(300, np.int16), (65_534, np.int32)])
def test_no_unit_becomes_padding(tmp_path: Path, n_units: int, kind: type) -> None:
    rows = write_segments(tmp_path / "data", n_train=1, n_val=1, n_test=0)
    corpus = write_units(tmp_path / "exp", rows, n_units=n_units, n_streams=2) / "corpus_timestamped.json"
    loaded = load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train", "val"])
    for utterance, entry in zip(loaded, read_corpus(corpus), strict=True):
        np.testing.assert_array_equal(utterance.frame_units, frame_units(entry))
        assert utterance.frame_units.dtype == kind and utterance.frame_units.min() >= 0


def test_f0_is_computed_for_one_split(tmp_path: Path) -> None:
    rows = write_segments(tmp_path / "data", n_train=1, n_val=1, n_test=2)
    corpus = write_units(tmp_path / "exp", rows, n_units=12) / "corpus_timestamped.json"
    load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["test"])
    stored = count_stored_frames(
        f0_store(tmp_path / "cache"), np.array([name_key(row["id"]) for row in rows], np.uint64)
    )
    assert [n_frames > 0 for n_frames in stored] == [row["split"] == "test" for row in rows]


def test_audio_outside_the_data_root_is_not_read(tmp_path: Path) -> None:
    rows = write_segments(tmp_path / "data", n_train=1, n_val=1, n_test=0)
    outside = [row | {"audio": f"../elsewhere/{row['audio']}"} for row in rows]
    corpus = write_units(tmp_path / "exp", rows, n_units=12) / "corpus_timestamped.json"
    corpus.write_text(corpus.read_text().replace(rows[0]["audio"], outside[0]["audio"]))
    with pytest.raises(UserError, match="leaves"):
        load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train"])


def test_an_utterance_without_units_is_left_out(tmp_path: Path) -> None:
    rows = write_segments(tmp_path / "data", n_train=2, n_val=0, n_test=0)
    corpus = write_units(tmp_path / "exp", rows, n_units=12) / "corpus_timestamped.json"
    first, *others = read_corpus(corpus)
    write_corpus(corpus, [first | {"units": [], "durations": [], "duration": 0.0}, *others])
    loaded = load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train"])
    assert [utterance.id for utterance in loaded] == [others[0]["id"]]
