"""Shards: what they hold, whose they are, and the corpus that they become."""

import json
import math
from pathlib import Path

import numpy as np

import pytest

from core.arrays import write_array
from units.corpus import read_corpus
from units.shards import (
    describe_utterance,
    find_problems,
    gather_features,
    merge_shards,
    read_failures,
    read_features,
    read_index,
    read_speakers,
    shard_path,
    shard_problem,
    write_index,
    write_lines,
    write_record,
    write_speakers,
)

ORIGIN = {"configuration": "c", "manifest": "m"}


def test_an_utterance_is_its_row_with_units() -> None:
    row = {"id": "a", "audio": "x/a.wav", "split": "val", "duration": 9.0, "source": "a.mp3", "start": 0.0}
    more = {"end": 1.5, "speaker": "ana", "text": "uno", "parts": [], "flags": ["noise_or_music"], "detector": "silero"}
    frames = np.array([[3, 7], [3, 8], [1, 8]])
    common = {"id": "a", "audio": "x/a.wav", "duration": 0.0607, "split": "val", "source": "a.mp3", "start": 0.0}
    end = {"unit_rate": 50, "units": [3, 1], "durations": [2, 1]}
    kept = {name: more[name] for name in ("end", "speaker", "text", "parts", "flags")}
    assert describe_utterance(row | more, 971, frames) == common | kept | end | {"residual_units": [[7, 8, 8]]}
    lacking = row | {"speaker": None, "text": None, "flags": []}
    assert describe_utterance(lacking, 971, frames[:, :1]) == common | end


def write_shard(folder: Path, index: int, rows: list[dict], failed: tuple[str, ...] = ()) -> Path:
    path = shard_path(folder, index, ".jsonl")
    write_lines(path, rows)
    write_record(path, ORIGIN, [{"id": name, "reason": "silent"} for name in failed])
    return path


def utterance(name: str, frames: list[list[int]]) -> dict:
    row = {"id": name, "audio": f"x/{name}.wav", "split": "train"}
    return describe_utterance(row, 320 * len(frames), np.array(frames))


def test_shards_become_one_corpus_and_its_totals(tmp_path: Path) -> None:
    """Units 0 1 0 and 2 in the first stream, frames 3 3 0 0 and 3 3 in the second, of 6 frames in all."""
    first = write_shard(tmp_path, 0, [utterance("ñ", [[0, 3], [0, 3], [1, 0], [0, 0]])])
    second = write_shard(tmp_path, 1, [utterance("b", [[2, 3], [2, 3]])])
    assert "ñ" in first.read_text(encoding="utf-8")
    totals = merge_shards([first, second], tmp_path / "corpus.json", 4, 2)
    assert [row["id"] for row in read_corpus(tmp_path / "corpus.json")] == ["ñ", "b"]
    first_bits, second_bits = 1.5, -(4 * math.log2(4 / 6) + 2 * math.log2(2 / 6)) / 6
    assert totals == {
        "n_utterances": 2,
        "hours": 0.0,
        "units_used": [3, 2],
        "units_per_second": 33.333,
        "bits_per_second": round(first_bits * 4 / 0.12 + second_bits * 50, 2),
    }
    long = describe_utterance({"id": "c", "audio": "c.wav", "split": "train"}, 1234 * 16_000, np.zeros((1, 1), int))
    write_shard(tmp_path, 2, [long])
    assert merge_shards([tmp_path / "0002.jsonl"], tmp_path / "corpus.json", 4, 1)["hours"] == 0.3428
    nothing = merge_shards([], tmp_path / "corpus.json", 4, 1)
    assert nothing == {
        "n_utterances": 0,
        "hours": 0.0,
        "units_used": [0],
        "units_per_second": 0.0,
        "bits_per_second": 0.0,
    }


def test_whose_a_shard_is_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = write_shard(tmp_path, 3, [utterance("a", [[0]])])
    assert path.name == "0003.jsonl" and shard_problem(path, ORIGIN) is None
    other = {"configuration": "d", "kmeans": "k"}
    assert shard_problem(path, other) == "foreign: of another configuration and another kmeans and another manifest"
    whole = path.read_text()
    path.write_text(whole + "\n")
    assert shard_problem(path, ORIGIN) == "damaged: not the bytes that were written"
    path.write_text(whole)
    write_index(path, [("a", 320)])
    assert shard_problem(path, ORIGIN) == "damaged: not the bytes that were written", "written after the record"
    write_record(path, ORIGIN, [])
    assert shard_problem(path, ORIGIN) is None
    record = path.with_suffix(".record.json")
    for broken in ("{", json.dumps({"origin": ORIGIN}), json.dumps({"sha256": "x"}), "[]"):
        record.write_text(broken)
        assert shard_problem(path, ORIGIN) == "damaged: no record of what was written"
    record.unlink()
    assert shard_problem(path, ORIGIN) == shard_problem(tmp_path / "0004.jsonl", ORIGIN) == "missing"


def test_problems_go_by_number_and_shards_too_many_are_some(tmp_path: Path) -> None:
    for index in (0, 2, 5):
        write_shard(tmp_path, index, [utterance("a", [[0]])], failed=(f"f{index}", f"g{index}"))
    assert find_problems(tmp_path, ".jsonl", 6, ORIGIN) == {1: "missing", 3: "missing", 4: "missing"}
    assert find_problems(tmp_path, ".jsonl", 5, ORIGIN) == {
        1: "missing",
        3: "missing",
        4: "missing",
        5: "foreign: there are 5 shards",
    }
    assert find_problems(tmp_path, ".jsonl", 1, ORIGIN) == {
        2: "foreign: there are 1 shards",
        5: "foreign: there are 1 shards",
    }
    assert read_failures(tmp_path, 1) == [{"id": "f0", "reason": "silent"}, {"id": "g0", "reason": "silent"}]


def test_features_are_found_by_utterance_and_read_by_row(tmp_path: Path) -> None:
    """Samples of 700 are two frames, of 320 one, of 319 none."""
    write_index(tmp_path / "0001.npy", [("c", 320)])
    write_index(tmp_path / "0000.npy", [("a", 700), ("none", 319), ("b", 320)])
    found = read_index(tmp_path)
    assert {name: (place.path.name, place.start, place.n_samples) for name, place in found.items()} == {
        "a": ("0000.npy", 0, 700),
        "none": ("0000.npy", 2, 319),
        "b": ("0000.npy", 2, 320),
        "c": ("0001.npy", 0, 320),
    }
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    write_array(tmp_path / "0000.npy", features)
    assert read_features(tmp_path / "0000.npy", 2, 3).tolist() == features[2:5].tolist()
    assert read_index(tmp_path / "nowhere") == {}


def test_speakers_of_several_files_follow_each_other(tmp_path: Path) -> None:
    write_speakers(tmp_path / "0000.npy", [("x/ana", 3), (None, 2)])
    write_speakers(tmp_path / "0001.npy", [("x/ben", 1)])
    paths = [tmp_path / "0000.npy", tmp_path / "0001.npy"]
    assert read_speakers(paths) == [("x/ana", 3), (None, 2), ("x/ben", 1)]


@pytest.mark.parametrize("n_frames", [0, 1])
def test_features_of_no_frame_have_their_width(tmp_path: Path, n_frames: int) -> None:
    for index in range(2):
        write_array(tmp_path / f"{index}.npy", np.ones((n_frames * index, 3), np.float64))
    found = gather_features([tmp_path / "0.npy", tmp_path / "1.npy"])
    assert found.shape == (n_frames, 3) and found.dtype == np.float32 and (found == 1).all()
