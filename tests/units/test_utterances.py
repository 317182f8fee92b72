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
from units.utterances import (
    count_frames,
    count_units,
    known_speakers,
    load_utterances,
    named_speakers,
    speaker_numbers,
)


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


def test_a_table_is_a_sequence_that_reads_what_it_is_asked_for(tmp_path: Path) -> None:
    rows = write_segments(tmp_path / "data", n_train=3, n_val=1, n_test=0)
    rows = [row | {"speaker": name} for row, name in zip(rows, ("ben", None, "ana", "eva"))]
    corpus = write_units(tmp_path / "exp", rows, n_units=12) / "corpus_timestamped.json"
    loaded = load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train"])
    assert len(loaded) == 3 and [one.speaker for one in loaded] == ["ben", None, "ana"]
    assert [one.id for one in loaded[1:]] == [row["id"] for row in rows[1:3]] and loaded[-1].id == rows[2]["id"]
    assert [loaded.recording(place) for place in range(3)] == [
        (row["id"], tmp_path / "data" / row["audio"]) for row in rows[:3]
    ]
    lengths = [len(one.frame_units) for one in loaded]
    assert [len(one.f0) for one in loaded] == lengths and all(one.f0.any() for one in loaded)
    entries = list(read_corpus(corpus))[:3]
    assert count_units(loaded).tolist() == [len(entry["units"]) for entry in entries]
    assert speaker_numbers(loaded).tolist() == [0, -1, 1]
    for some in (loaded, list(loaded)):
        assert count_frames(some).tolist() == lengths and named_speakers(some) == {"ana", "ben"}


@pytest.mark.parametrize("more", [3, -1])
def test_units_longer_or_shorter_than_their_audio_are_refused(tmp_path: Path, more: int) -> None:
    rows = write_segments(tmp_path / "data", n_train=2, n_val=0, n_test=0)
    corpus = write_units(tmp_path / "exp", rows, n_units=12) / "corpus_timestamped.json"
    first, second = read_corpus(corpus)
    second["durations"][int(np.argmax(second["durations"]))] += more
    n_frames = sum(second["durations"])
    write_corpus(corpus, [first, second])
    with pytest.raises(UserError, match=rf"expected {n_frames} frames as in .*, found {n_frames - more}; rerun"):
        load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train"])
    with pytest.raises(UserError, match="expected utterances in split val or test, found none; add recordings"):
        load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["val", "test"])


def test_speakers_of_a_corpus_are_named_once_and_sorted() -> None:
    assert known_speakers(["b", None, "a", "", "b"], Path("speakers.tsv")) == ["a", "b"]
    with pytest.raises(UserError, match=r"found none; write speakers\.tsv, segment, and rerun phase 1"):
        known_speakers([None, ""], Path("speakers.tsv"))
