"""The corpus as columns: the same utterances as the JSON, made once, made again where the corpus changes."""

import json
import os
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.packed_files import name_key
from synthetic import write_segments, write_units
from units import unit_table
from units.corpus import frame_units, read_corpus, write_corpus
from units.unit_table import map_units, open_names, open_table, read_column, read_name, require_units_below
from units.utterances import load_utterances


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = write_segments(tmp_path / "data", n_train=3, n_val=1, n_test=1)
    return write_units(tmp_path / "exp", rows, n_units=12, n_streams=2) / "corpus_timestamped.json"


def test_the_columns_say_what_the_corpus_says(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unit_table, "BATCH", 2)
    table, entries = open_table(corpus, tmp_path / "cache"), list(read_corpus(corpus))
    units, names = map_units(table), open_names(table)
    first, n_frames, place, n_bytes = (
        read_column(table, key) for key in ("first_frame", "n_frames", "place", "n_bytes")
    )
    for row, entry in enumerate(entries):
        assert read_name(names, place[row], n_bytes[row]) == (entry["id"], entry["audio"])
        np.testing.assert_array_equal(units[first[row] : first[row] + n_frames[row]], frame_units(entry))
    assert read_column(table, "seconds").tolist() == [entry["duration"] for entry in entries]
    assert table.n_utterances == len(entries) and table.n_streams == 2 and table.dtype == "int16"


def test_a_table_is_made_once_for_each_state_of_the_corpus(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    table = open_table(corpus, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(unit_table, "_make_table", None)
        assert open_table(corpus, tmp_path / "cache") == table
    entries = list(read_corpus(corpus))[:2]
    corpus.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
    assert open_table(corpus, tmp_path / "cache").n_utterances == 2
    assert [path.name for path in table.folder.parent.iterdir() if path.is_dir()] != [table.folder.name]
    assert len([path for path in table.folder.parent.iterdir() if path.is_dir()]) == 1


def test_a_torn_table_is_no_table(corpus: Path, tmp_path: Path) -> None:
    whole = corpus.read_text()
    corpus.write_text(whole.replace("\n]", ""))
    with pytest.raises(UserError, match="cut short"):
        open_table(corpus, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*.bin")]
    corpus.write_text(whole)
    assert open_table(corpus, tmp_path / "cache").n_utterances == 5


def test_what_a_killed_writer_left_goes_and_other_corpora_stay(corpus: Path, tmp_path: Path) -> None:
    folder = open_table(corpus, tmp_path / "cache").folder
    torn, other = folder.with_name(f".{folder.name}.123.abcd.tmp"), folder.with_name(".another_abcd.1.ef.tmp")
    for left in (torn, other):
        left.mkdir()
        (left / "units.bin").write_bytes(b"half")
    os.utime(corpus, ns=(0, 0))
    assert open_table(corpus, tmp_path / "cache").folder.is_dir()
    assert not torn.exists() and other.is_dir() and not folder.exists()


def test_speakers_splits_and_flags_are_numbered_as_they_come(tmp_path: Path) -> None:
    said = [
        {"speaker": "ben", "flags": ["b"], "split": "test"},
        {"split": "train", "units": [], "durations": []},
        {"speaker": "ana", "flags": ["a", "b", "a"], "split": "val"},
        {"speaker": "ben", "split": "train", "units": [7, 32_767]},
    ]
    rows = [
        {"id": f"ñ{place}", "audio": f"x/{place}.wav", "duration": place / 8, "unit_rate": 50}
        | {"units": [7, 2], "durations": [2, 1]}
        | row
        for place, row in enumerate(said)
    ]
    write_corpus(tmp_path / "corpus.json", rows)
    table = open_table(tmp_path / "corpus.json", tmp_path / "cache")
    assert (table.speakers, table.flags) == (["ben", "ana"], ["b", "a"])
    columns = {name: read_column(table, name).tolist() for name in unit_table.COLUMNS}
    assert columns["speaker"] == [0, -1, 1, 0] and columns["flags"] == [1, 0, 3, 0]
    assert columns["split"] == [2, 0, 1, 0] and columns["seconds"] == [0, 0.125, 0.25, 0.375]
    assert columns["n_frames"] == [3, 0, 3, 3] and columns["first_frame"] == [0, 3, 3, 6]
    assert columns["key"] == [name_key(row["id"]) for row in rows]
    assert (table.n_utterances, table.n_frames, table.n_streams, table.dtype) == (4, 9, 1, "int16")
    assert map_units(table)[:, 0].tolist() == [7, 7, 2, 7, 7, 2, 7, 7, 32_767]
    require_units_below(table, 32_768)
    with pytest.raises(UserError, match=r"corpus\.json: expected units below 32767, found 32767; rerun phase 1"):
        require_units_below(table, 32_767)
    rows[3]["units"] = [7, 32_768]
    write_corpus(tmp_path / "corpus.json", rows)
    table = open_table(tmp_path / "corpus.json", tmp_path / "cache")
    assert table.dtype == "int32" and map_units(table)[-1, 0] == table.largest_unit == 32_768


def test_a_corpus_without_a_frame_has_a_table(tmp_path: Path) -> None:
    row = {"id": "a", "audio": "a.wav", "duration": 0.0, "unit_rate": 50, "split": "train", "units": []}
    write_corpus(tmp_path / "corpus.json", [row | {"durations": []}])
    table = open_table(tmp_path / "corpus.json", tmp_path / "cache")
    assert (table.n_utterances, table.n_frames, table.n_streams, table.largest_unit) == (1, 0, 1, 0)
    assert map_units(table).shape == (0, 1)
    write_corpus(tmp_path / "corpus.json", [])
    assert read_column(open_table(tmp_path / "corpus.json", tmp_path / "cache"), "split").shape == (0,)


@pytest.mark.parametrize("damage", ["streams", "negative"])
def test_units_that_no_table_can_hold_are_refused(corpus: Path, tmp_path: Path, damage: str) -> None:
    entries = list(read_corpus(corpus))
    if damage == "streams":
        del entries[1]["residual_units"]
    else:
        entries[1]["units"][0] = -1
    corpus.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
    with pytest.raises(UserError, match=f"{entries[1]['id']}; rerun phase 1"):
        open_table(corpus, tmp_path / "cache")


@pytest.mark.parametrize(("changed", "asked"), [(0, 4096), (1, 4096), (2, 4096), (0, 2), (2, 2), (1, 2)])
def test_audio_that_changed_has_its_f0_computed_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int, asked: int
) -> None:
    """Of a large corpus an even spread is asked for its dates: of three utterances by two, the first and the last."""
    monkeypatch.setattr("units.utterances.DATES_ASKED", asked)

    def load() -> list:
        return list(load_utterances(corpus, tmp_path / "data", tmp_path / "cache", ["train"]))

    before = [utterance.f0.copy() for utterance in load()]
    audio = load()[changed].audio_path
    content = audio.read_bytes()
    audio.write_bytes(content[:44] + bytes(len(content) - 44))
    later = audio.stat().st_mtime_ns + 10**10
    os.utime(audio, ns=(later, later))
    after = [utterance.f0 for utterance in load()]
    noticed = asked > 2 or changed != 1
    assert len(before) == 3 and before[changed].any() and after[changed].any() != noticed
    np.testing.assert_array_equal(before[changed - 1], after[changed - 1])
