"""The index: whole or not there, the same bytes after a kill, refused where it is of something else."""

from pathlib import Path

import numpy as np

import pytest

from search_examples import LANGUAGE, write_language

from core.errors import UserError
from core.files import read_json
from spoken_search import building
from spoken_search.building import build_index
from spoken_search.features import PRIOR_FRAMES, describe_search_features, normalise
from spoken_search.index import is_whole, load_segments, open_index, require_features

SIZES = {"padding": "full", "n_features": 0, "n_centroids": 32}
NAMES = ("features.npy", "codes.npy", "bounds.npy")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index")
    write_language(root, n_segments=6, seconds=2.0)
    return root


@pytest.fixture(scope="module")
def folder(data_root: Path) -> Path:
    segments = load_segments(data_root / LANGUAGE / "segments.jsonl")
    build_index(data_root / "index", segments, data_root, features(), quiet=True)
    return data_root / "index"


def features(seed: int = 0) -> dict:
    return describe_search_features("mfcc", None, seed=seed, **SIZES)


def test_every_frame_is_there_once_and_of_unit_length(folder: Path, data_root: Path) -> None:
    index = open_index(folder, load_segments(data_root / LANGUAGE / "segments.jsonl"))
    assert np.diff(index.bounds).tolist() == [100] * 6
    assert (index.frames.shape, index.frames.dtype, index.codes.dtype) == ((600, 39), np.float16, np.uint8)
    np.testing.assert_allclose(np.linalg.norm(index.frames.astype(np.float32), axis=1), 1, atol=2e-3)
    nearest = np.argmin(np.square(index.frames[:50, None] - index.transform.centroids).sum(axis=2), axis=1)
    assert np.mean(nearest == index.codes[:50]) > 0.95  # fp16 moves a frame on an edge
    assert not (folder / "parts").exists()


def test_killed_and_continued_gives_the_same_bytes(
    folder: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = load_segments(data_root / LANGUAGE / "segments.jsonl")
    monkeypatch.setattr(building, "N_SHARD_SEGMENTS", 2)
    written = building._write_part

    def kill(path: Path, *rest: object) -> None:
        if path.stem == "00001":
            raise KeyboardInterrupt
        written(path, *rest)

    with monkeypatch.context() as killing:
        killing.setattr(building, "_write_part", kill)
        with pytest.raises(KeyboardInterrupt):
            build_index(tmp_path / "index", segments, data_root, features(), quiet=True)
    assert not is_whole(tmp_path / "index")
    done = tmp_path / "index/parts/00000.npz"
    before = done.stat().st_mtime_ns
    monkeypatch.setattr(building, "_merge", lambda *_: None)
    build_index(tmp_path / "index", segments, data_root, features(), quiet=True)
    assert done.stat().st_mtime_ns == before
    monkeypatch.undo()
    build_index(tmp_path / "index", segments, data_root, features(), quiet=True)
    for name in NAMES:
        assert (tmp_path / "index" / name).read_bytes() == (folder / name).read_bytes()


def test_an_index_of_other_segments_or_settings_is_refused(folder: Path, data_root: Path) -> None:
    segments = load_segments(data_root / LANGUAGE / "segments.jsonl")
    with pytest.raises(UserError, match="recordings were added or cut again; run: python src/index_speech.py"):
        open_index(folder, segments[:-1])
    with pytest.raises(UserError, match="--overwrite"):
        build_index(folder, segments, data_root, features(seed=1), quiet=True)
    assert is_whole(folder)
    with pytest.raises(UserError, match="seed 1, found 0"):
        require_features(open_index(folder, segments), features(seed=1))


def test_what_cannot_be_read_is_named_and_too_much_of_it_refused(data_root: Path, tmp_path: Path) -> None:
    segments = load_segments(data_root / LANGUAGE / "segments.jsonl")
    broken = data_root / LANGUAGE / "segments/broken.wav"
    broken.write_bytes(b"RIFF no sound")
    lost = segments[0] | {"id": "lost", "audio": f"{LANGUAGE}/segments/broken.wav"}
    with pytest.raises(UserError, match="1 of 7 segments cannot be read, first lost"):
        build_index(tmp_path / "a", [*segments, lost], data_root, features(), quiet=True)
    many = [*(row | {"id": f"{row['id']}.{turn}"} for turn in range(4) for row in segments), lost]
    build_index(tmp_path / "b", many, data_root, features(), quiet=True)
    described = read_json(tmp_path / "b/index.json")
    assert [row["id"] for row in described["failed"]] == ["lost"] and described["n_frames"] == 2400


def test_a_short_signal_keeps_what_makes_it_that_word() -> None:
    rng = np.random.default_rng(0)
    mean, variance = np.zeros(3, np.float32), np.ones(3, np.float32)
    word = np.tile(np.float32([3, 0, 0]), (10, 1))
    kept = normalise(word, mean, variance)
    assert kept[0, 0] > 2.0  # its own mean alone would leave 0
    voice = (rng.standard_normal((40 * PRIOR_FRAMES, 3)) * 2 + 5).astype(np.float32)
    evened = normalise(voice, mean, variance)
    np.testing.assert_allclose(evened.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(evened.std(axis=0), 1, atol=0.1)
