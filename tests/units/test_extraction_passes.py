"""The two passes of phase 1, part by part: which shards a process does, what it reads, and where a clip lies."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest
from tqdm import tqdm

from audio.audio_io import load_audio
from core.arrays import read_array, write_array
from encoders.encode import Encoder, encode, load_encoder
from synthetic import write_segments
from units import extraction_passes
from units.extraction_passes import Clip, Workload, _collect, _find_pending, add_features, fit_pass, read_clip
from units.shards import FeatureRows, read_speakers, shard_path, write_lines, write_record

ORIGIN = {"configuration": "c"}
ENCODER = load_encoder("mfcc", None)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict]:
    made = write_segments(tmp_path, n_train=5, n_val=0, n_test=0)
    return [row | {"speaker": name} for row, name in zip(made, ("ana", None, "ben", "ana", None))]


def work_of(root: Path, **changed: object) -> Workload:
    return Workload(root, 2, rank=0, n_ranks=1, num_workers=1, quiet=True)._replace(**changed)


def clip(position: int, failure: str = "") -> Clip:
    return Clip(position, {"id": f"u{position}"}, 320, None, None, failure)


def test_clips_come_back_in_order_and_failures_apart() -> None:
    kept, failed = _collect([clip(3), clip(2, "silent"), clip(0), clip(1, "cut")], lambda one: one.position * 10)
    assert kept == [0, 30]
    assert failed == [{"id": "u1", "reason": "cut"}, {"id": "u2", "reason": "silent"}]


def test_shards_are_dealt_out_and_those_that_are_done_left_alone(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr("units.extraction_passes.log.warning", lambda text, *values: said.append(text % values))
    seconds = [row["duration"] for row in rows]
    expected = {0: sum(seconds[:2]), 1: sum(seconds[2:4]), 2: seconds[4]}
    for rank, mine in ((0, [0, 2]), (1, [1])):
        found = _find_pending(rows, tmp_path, ".jsonl", work_of(tmp_path, rank=rank, n_ranks=2), ORIGIN)
        assert found == {index: pytest.approx(expected[index]) for index in mine}
    for index, origin in ((0, ORIGIN), (1, {"configuration": "of another"})):
        write_lines(shard_path(tmp_path, index, ".jsonl"), [])
        write_record(shard_path(tmp_path, index, ".jsonl"), origin, [])
    assert [*_find_pending(rows, tmp_path, ".jsonl", work_of(tmp_path), ORIGIN)] == [1, 2]
    assert said == [f"{tmp_path / '0001.jsonl'}: made again (foreign: of another configuration)"], "not those missing"


def test_a_clip_is_read_encoded_at_once_or_known(rows: list[dict], tmp_path: Path) -> None:
    waveform = load_audio(tmp_path / rows[0]["audio"])
    found = read_clip(ENCODER, tmp_path, {}, (7, rows[0]))
    assert (found.position, found.row, found.n_samples, found.failure) == (7, rows[0], len(waveform), "")
    np.testing.assert_array_equal(found.waveform, waveform)
    np.testing.assert_allclose(found.features, encode(ENCODER, [waveform])[0], atol=1e-5)
    lost = read_clip(ENCODER, tmp_path, {}, (1, rows[1] | {"audio": "none.wav"}))
    assert (lost.n_samples, lost.waveform, lost.features) == (0, None, None) and "none.wav" in lost.failure
    stored = np.arange(20, dtype=np.float32).reshape(10, 2)
    write_array(tmp_path / "0000.npy", stored)
    known = {rows[2]["id"]: FeatureRows(tmp_path / "0000.npy", 3, 4 * 320 + 100)}
    kept = read_clip(ENCODER, tmp_path, known, (2, rows[2] | {"audio": "none.wav"}))
    assert kept.features.tolist() == stored[3:7].tolist() and kept.waveform is None
    assert (kept.n_samples, kept.failure) == (1380, "")


def test_those_that_lack_features_are_encoded_together_at_their_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(_: Encoder, waveforms: list[np.ndarray], *, offsets: list[int]) -> list[np.ndarray]:
        asked.append(([len(one) for one in waveforms], offsets))
        return [np.full((1, 2), len(one), np.float32) for one in waveforms]

    monkeypatch.setattr("units.extraction_passes.encode", note)
    lacking = [clip(place)._replace(n_samples=size, waveform=np.zeros(size)) for place, size in ((5, 640), (2, 960))]
    known = clip(3)._replace(waveform=np.zeros(320), features=np.ones((1, 2)))
    clips = [lacking[0], known, clip(4, "cut"), lacking[1]]
    found = list(add_features(ENCODER, clips, lambda identity, n_frames: int(identity[1:]) * 100 + n_frames))
    assert asked == [([640, 960], [502, 203])]
    assert [one.position for one in found] == [5, 3, 4, 2] and found[2].features is None
    assert [found[place].features[0, 0] for place in (0, 1, 3)] == [640, 1, 960]
    list(add_features(ENCODER, lacking[:1]))
    assert asked[-1] == ([640], [0])


def fit(rows: list[dict], root: Path, **settings: object) -> Path:
    known = {"share": 1.0, "seed": 0} | settings
    fit_pass(ENCODER, lambda: iter(rows), root / "fit", work_of(root), ORIGIN, **known)
    return root / "fit"


@pytest.mark.parametrize(("chance", "offset"), [(0.0, 0), (0.124, 0), (0.126, 1), (0.999999, 7)])
def test_a_clip_may_lie_at_every_offset_up_to_the_last(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: float, offset: int
) -> None:
    """Seven frames are left over in the input: eight places."""
    asked = []

    def note(one: Encoder, waveforms: list[np.ndarray], *, offsets: list[int] | None = None) -> list[np.ndarray]:
        asked.extend(offsets or [])
        return encode(one, waveforms)

    monkeypatch.setattr("units.extraction_passes.encode", note)
    monkeypatch.setattr("units.extraction_passes.is_cheap", lambda _: False)
    monkeypatch.setattr("units.extraction_passes.position_slack", lambda *_: 7)
    monkeypatch.setattr("units.extraction_passes.hash_fraction", lambda *_: chance)
    fit(rows[:2], tmp_path)
    assert asked == [offset, offset]


def test_a_sample_lies_in_order_with_its_speakers_and_what_failed(rows: list[dict], tmp_path: Path) -> None:
    rows[3] |= {"audio": "none.wav"}
    folder = fit(rows, tmp_path, by_speaker=True)
    good = [row for row in rows if row is not rows[3]]
    features = [encode(ENCODER, [load_audio(tmp_path / row["audio"])])[0] for row in good]
    shards = [folder / f"{index:04d}.npy" for index in range(3)]
    np.testing.assert_allclose(np.concatenate([*map(read_array, shards)]), np.concatenate(features), atol=1e-4)
    names = ["spanish/ana", None, "spanish/ben", None]
    assert read_speakers(shards) == [*zip(names, map(len, features))]
    failed = [json.loads(path.with_suffix(".record.json").read_text())["failed"] for path in shards]
    assert [[one["id"] for one in found] for found in failed] == [[], [rows[3]["id"]], []]
    assert not list(folder.glob("*.index.json")), "cheap features are made again sooner than read"


@pytest.mark.parametrize(
    ("described", "is_kept"),
    [
        ((False, False, 1.0), True),
        ((False, False, 1.5), True),
        ((True, False, 1.0), False),
        ((False, True, 1.0), False),
        ((False, False, 0.999), False),
    ],
    ids=str,
)
def test_features_are_kept_for_the_second_pass_where_they_are_whole_and_dear(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: tuple, is_kept: bool
) -> None:
    is_cheap, has_positions, share = described
    monkeypatch.setattr("units.extraction_passes.is_cheap", lambda _: is_cheap)
    monkeypatch.setattr("units.extraction_passes.has_positions", lambda _: has_positions)
    folder = fit(rows[:1], tmp_path, share=share)
    index = folder / "0000.index.json"
    assert index.exists() == is_kept and not list(folder.glob("*.speakers.json"))
    if is_kept:
        n_samples = len(load_audio(tmp_path / rows[0]["audio"]))
        assert json.loads(index.read_text()) == [[rows[0]["id"], n_samples]]


@pytest.mark.parametrize(("process", "is_shown"), [((0, False), True), ((1, False), False), ((0, True), False)])
def test_the_first_process_shows_the_seconds_that_are_left(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: tuple[int, bool], is_shown: bool
) -> None:
    rank, quiet = process
    bars = []

    def note(**settings: object) -> tqdm:
        bars.append((settings, tqdm(total=settings["total"], disable=False, file=io.StringIO())))
        return bars[-1][1]

    monkeypatch.setattr("units.extraction_passes.tqdm", note)
    work = work_of(tmp_path, rank=rank, n_ranks=rank + 1, quiet=quiet)
    fit_pass(ENCODER, lambda: iter(rows), tmp_path / "fit", work, ORIGIN, share=0.5, seed=0)
    ((settings, bar),) = bars
    mine = rows if rank == 0 else rows[2:4]
    assert settings["disable"] is (None if is_shown else True)
    assert settings["total"] == round(sum(row["duration"] for row in mine))
    assert bar.n == pytest.approx(sum(row["duration"] for row in mine)) and settings["desc"] == "sampling features"


def test_five_minutes_of_audio_are_held_at_once(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    chunks: Callable = extraction_passes.cut_chunks
    monkeypatch.setattr(
        "units.extraction_passes.cut_chunks", lambda shard, seconds: asked.append(seconds) or chunks(shard, seconds)
    )
    fit(rows[:1], tmp_path)
    assert asked == [300.0]
