"""Cached features are the computed ones, and survive whatever happens to the process that makes them."""

import dataclasses
import functools
import json
import logging
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

import encoders.feature_cache
import encoders.feature_shards
from audio.audio_spans import change_speed
from core.errors import UserError
from core.frames import samples_to_frames
from core.hashing import hash_content
from encoders.encode import encode, load_encoder
from encoders.feature_cache import FeatureCache, cached_features, encode_features, fill_feature_cache, open_encoder
from encoders.feature_shards import MissingAudio, Part, _cut_shards, _order_shards, fill_part, open_part
from encoders.table import OWN_ENCODERS, hash_encoder
from synthetic import save_tiny_encoder, speech_like

SECONDS = (0.5, 1.3, 2.0, 0.9, 2.4, 1.7)


def speak(seconds: float, seed: int) -> np.ndarray:
    return speech_like(seconds, seed=seed)


def refuse() -> np.ndarray:
    raise UserError("a.wav: expected decodable audio, found noise")


def make_items(seconds: tuple[float, ...] = SECONDS) -> list[dict]:
    return [
        {
            "id": f"item_{seed}",
            "duration": length,
            "text": "words",
            "speaker": None,
            "hash": hash_content(f"{length} {seed}".encode()),
            "load": functools.partial(speak, length, seed),
        }
        for seed, length in enumerate(seconds)
    ]


def fill(folder: Path, items: list[dict], encoder: Path, **options: object) -> FeatureCache:
    flags = {"layer": 2, "precision": "fp32", "quiet": True} | options
    return fill_feature_cache(folder, items, encoder_id=str(encoder), **flags)


@pytest.mark.parametrize("padding", ["full", "short"])
def test_cached_features_are_the_computed_ones(tiny_whisper: Path, tmp_path: Path, padding: str) -> None:
    items = make_items()
    cache = pickle.loads(pickle.dumps(fill(tmp_path, items, tiny_whisper, padding=padding)))
    encoder = open_encoder(str(tiny_whisper), 2, precision="fp32", padding=padding)
    assert cache.dim == encoder.model.dim == 32
    for item in items:
        waveform = item["load"]()
        found, exact = cached_features(cache, item), encode(encoder, [waveform])[0]
        assert found.shape == (samples_to_frames(len(waveform)), 32)
        assert found.dtype == np.float16
        assert isinstance(found, np.memmap)
        # Half of fp16's last place, and what batching may change.
        np.testing.assert_allclose(found, exact, rtol=2**-11, atol=2e-4)
        np.testing.assert_allclose(found, encode_features(encoder, [waveform])[0], rtol=2**-10, atol=2e-4)
    assert cache.megabytes == sum(len(cached_features(cache, item)) for item in items) * 32 * 2 / 1e6


def test_the_last_layer_is_the_default(tiny_whisper: Path, tmp_path: Path) -> None:
    item = make_items((1.0,))[0]
    found = cached_features(fill(tmp_path, [item], tiny_whisper, layer=None), item)
    expected = encode(load_encoder(str(tiny_whisper), 3), [item["load"]()])[0]
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-3)


def test_every_speed_has_its_own_features(tiny_whisper: Path, tmp_path: Path) -> None:
    items = make_items((1.0, 2.0))
    cache = fill(tmp_path, items, tiny_whisper, speed=(0.9, 1.0, 1.1))
    encoder = load_encoder(str(tiny_whisper), 2)
    for speed in (0.9, 1.0, 1.1):
        expected = encode(encoder, [change_speed(items[1]["load"](), speed)])[0]
        np.testing.assert_allclose(cached_features(cache, items[1], speed), expected, rtol=2**-10, atol=1e-3)
    lengths = [len(cached_features(cache, items[1], speed)) for speed in (0.9, 1.0, 1.1)]
    assert lengths == [111, 100, 90]
    with pytest.raises(UserError, match="features of 'item_0' at speed 0.8, found none"):
        cached_features(cache, items[0], 0.8)


def test_what_is_there_is_not_computed_again(
    tiny_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items()
    first = fill(tmp_path, items[:4], tiny_whisper)
    grown = fill(tmp_path, items, tiny_whisper)
    assert (first.n_encoded, grown.n_encoded) == (4, 2)
    moved = Path(shutil.copytree(tiny_whisper, tmp_path / "models" / tiny_whisper.name))
    monkeypatch.setattr(encoders.feature_cache, "load_encoder", lambda *_: pytest.fail("weights were loaded"))
    again = fill(tmp_path, items[::-1], moved)
    assert again.n_encoded == 0
    assert again.entries == grown.entries


def test_whatever_changes_the_features_changes_the_cache(tiny_whisper: Path, tmp_path: Path) -> None:
    item = make_items((1.0,))
    other = save_tiny_encoder(tmp_path / "models" / tiny_whisper.name, "whisper")
    shape = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(shape | {"dropout": 0.123}))
    variants = [{}, {"layer": 1}, {"padding": "short"}, {"precision": "bf16"}, {"speed": 1.1}, {"encoder": other}]
    for variant in variants:
        fill(tmp_path / "cache", item, **{"encoder": tiny_whisper} | variant)
    folders = [path for path in (tmp_path / "cache").iterdir() if list(path.glob("shard_*.npy"))]
    assert len(folders) == len(variants)


def test_weights_are_part_of_what_an_encoder_is(tmp_path: Path) -> None:
    folder = save_tiny_encoder(tmp_path / "model", "whisper")
    before, weights = hash_encoder(str(folder)), folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    assert hash_encoder(str(folder)) != before


def test_short_padding_does_not_depend_on_company(tiny_whisper: Path) -> None:
    encoder = open_encoder(str(tiny_whisper), 2, precision="fp32", padding="short")
    waveforms = [speak(seconds, 3) for seconds in (0.4, 1.2, 2.5, 2.6, 6.0)]
    for single, waveform in zip(encode(encoder, waveforms), waveforms):
        np.testing.assert_allclose(single, encode(encoder, [waveform])[0], atol=1e-4)


def test_short_padding_of_a_full_window_is_full_padding(tiny_whisper: Path) -> None:
    """Near 30 s both pad to 30 s: the shorter way through the model is the model's own."""
    waveform = speak(29.5, 1)
    full, short = (
        encode(open_encoder(str(tiny_whisper), 2, precision="fp32", padding=padding), [waveform])[0]
        for padding in ("full", "short")
    )
    np.testing.assert_allclose(short, full, atol=1e-5)


def test_longer_than_a_window_is_encoded_in_joined_windows(tiny_whisper: Path, tmp_path: Path) -> None:
    item = make_items((41.0,))[0]
    found = cached_features(fill(tmp_path, [item], tiny_whisper), item)
    assert len(found) == 41 * 50
    expected = encode(load_encoder(str(tiny_whisper), 2), [item["load"]()])[0]
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-3)


def test_only_whisper_can_be_padded_less(tiny_hubert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only Whisper pads"):
        fill(tmp_path, make_items((1.0,)), tiny_hubert, padding="short")
    with pytest.raises(UserError, match="precision auto, fp32 or bf16, found 'fp8'"):
        fill(tmp_path, make_items((1.0,)), tiny_hubert, precision="fp8")


def test_features_beyond_fp16_are_refused(tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders.feature_cache, "encode", lambda *_: [np.full((2, 3), 7e4, np.float32)])
    encoder = load_encoder(str(tiny_whisper), 2)
    with pytest.raises(UserError, match=r"layer 2: expected features within fp16's range \(65504\), found 70000"):
        encode_features(encoder, [np.zeros(640, np.float32)])


def test_items_that_cannot_be_read_are_named(
    tiny_whisper: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("oral_units"), "propagate", True)
    items = make_items((0.5,) * 30)
    items[7] |= {"load": refuse}
    cache = fill(tmp_path, items, tiny_whisper, layer=0)
    assert cache.failed == [{"id": "item_7", "reason": "a.wav: expected decodable audio, found noise"}]
    assert "1 of 30 items could not be encoded, first item_7" in caplog.text
    assert len(cached_features(cache, items[8])) == 25
    with pytest.raises(UserError, match=r"1 of 10 items.*delete this folder"):
        fill(tmp_path, items[:10], tiny_whisper, layer=0)


# What follows needs processes that die or race, not an encoder: features are the waveform's own frames.


def count_frames(waveforms: list[np.ndarray]) -> list[np.ndarray]:
    return [wave[: len(wave) // 320 * 320].reshape(-1, 320)[:, :4].astype(np.float16) for wave in waveforms]


def fill_plain(
    folder: Path, items: list[dict], share: tuple[int, int] = (0, 1), encode: Callable = count_frames
) -> Part:
    return fill_and_count(folder, items, share, encode)[0]


def fill_and_count(
    folder: Path, items: list[dict], share: tuple[int, int] = (0, 1), encode: Callable = count_frames
) -> tuple[Part, int]:
    """The part, and how many items had to be encoded."""
    part = open_part(folder, "plain", {"dim": 4}, 1.0)
    return part, fill_part(part, items, encode, share=share, num_workers=1, quiet=True)[0]


def contents(part: Part) -> dict[str, bytes]:
    return {
        key: np.load(path)[start : start + n_frames].tobytes() for key, (path, start, n_frames) in part.entries.items()
    }


@dataclasses.dataclass
class Child:
    """A forked process that runs ``work`` and leaves without cleaning up after pytest."""

    work: Callable[[], None]

    def __post_init__(self) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.work()
            finally:
                os._exit(0)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.feature_shards.SHARD_ITEMS", 3)


@pytest.fixture
def spoken_items() -> list[dict]:
    return make_items(tuple(0.3 + 0.01 * number for number in range(8)))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("after_rename", [False, True])
def test_killed_at_every_rename_nothing_finished_is_lost(
    spoken_items: list[dict], tmp_path: Path, after_rename: bool
) -> None:
    expected = contents(fill_plain(tmp_path / "whole", spoken_items))
    # Three shards of two files each, and settings.json: more kills than renames, so that the last run ends.
    for n_renames in range(9):
        folder = tmp_path / f"killed_{n_renames}"

        def work(folder: Path = folder, left: int = n_renames) -> None:
            rename, made = os.replace, [0]

            def die(source: str, target: str) -> None:
                made[0] += 1
                if made[0] <= left or after_rename:
                    rename(source, target)
                if made[0] > left:
                    os.kill(os.getpid(), signal.SIGKILL)

            os.replace = die
            fill_plain(folder, spoken_items)

        assert Child(work).wait() == (-signal.SIGKILL if n_renames < 7 else 0)
        before = {path: path.stat().st_ino for path in folder.rglob("shard_*.json")}
        # The first rename is that of settings.json; then come a shard's features and its list in turn.
        assert len(before) == max(min(n_renames + after_rename, 7) - 1, 0) // 2
        finished = open_part(folder, "plain", {"dim": 4}, 1.0).entries
        part, n_encoded = fill_and_count(folder, spoken_items)
        assert n_encoded == len(spoken_items) - len(finished)
        assert contents(part) == expected
        assert all(path.stat().st_ino == inode for path, inode in before.items())


@pytest.mark.usefixtures("small_shards")
def test_killed_at_any_moment_it_goes_on(spoken_items: list[dict], tmp_path: Path) -> None:
    def slowly(waveforms: list[np.ndarray]) -> list[np.ndarray]:
        time.sleep(0.02)
        return count_frames(waveforms)

    expected, known = contents(fill_plain(tmp_path / "whole", spoken_items)), set()
    for attempt in range(6):
        child = Child(lambda: fill_plain(tmp_path / "killed", spoken_items, encode=slowly))
        time.sleep(0.01 + 0.013 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        now = set(open_part(tmp_path / "killed", "plain", {"dim": 4}, 1.0).entries)
        assert known <= now
        known = now
    assert contents(fill_plain(tmp_path / "killed", spoken_items)) == expected


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("ranks", [((0, 1), (0, 1), (0, 1)), ((0, 3), (1, 3), (2, 3))])
def test_processes_at_once_all_return_with_everything(ranks: tuple, spoken_items: list[dict], tmp_path: Path) -> None:
    expected = contents(fill_plain(tmp_path / "whole", spoken_items))

    def work(share: tuple[int, int], number: int) -> None:
        found = contents(fill_plain(tmp_path / "shared", spoken_items, share))
        (tmp_path / f"ok_{number}").write_text(str(found == expected))

    children = [Child(functools.partial(work, share, number)) for number, share in enumerate(ranks)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert [(tmp_path / f"ok_{number}").read_text() for number in range(3)] == ["True"] * 3
    assert not list((tmp_path / "shared").rglob(".*.tmp"))


def test_the_folder_is_not_listed_for_every_shard(
    small_shards: None, spoken_items: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the name of a planned shard finds what others have finished; listing all would be quadratic."""
    listed, read = [], encoders.feature_shards._read_new_shards
    monkeypatch.setattr("encoders.feature_shards.LISTING_SHARE", 0.0)
    monkeypatch.setattr("encoders.feature_shards._read_new_shards", lambda part: listed.append(part) or read(part))
    late = open_part(tmp_path, "plain", {"dim": 4}, 1.0)
    early = fill_plain(tmp_path, spoken_items)
    assert len(list(early.folder.glob("shard_*.json"))) == 3 and len(listed) == 3  # opened twice, and filled once
    assert fill_part(late, spoken_items, count_frames, share=(0, 1), num_workers=1, quiet=True) == (0, 0.0)
    assert len(listed) == 4 and contents(late) == contents(early)


def test_what_others_plan_differently_is_found_in_time(
    small_shards: None, spoken_items: list[dict], tmp_path: Path
) -> None:
    late = open_part(tmp_path, "plain", {"dim": 4}, 1.0)
    early = fill_plain(tmp_path, spoken_items[1:])
    late.listed[1] = 0.0  # listing is cheap here
    assert fill_part(late, spoken_items, count_frames, share=(0, 1), num_workers=1, quiet=True)[0] == 1
    assert contents(late).items() > contents(early).items()


def test_ranks_share_the_shards_and_help_from_the_far_end() -> None:
    shards = [[index] for index in range(7)]
    assert _order_shards(shards, 0, 2) == [[0], [2], [4], [6], [5], [3], [1]]
    assert _order_shards(shards, 1, 2) == [[1], [3], [5], [6], [4], [2], [0]]
    assert sorted(_order_shards(shards, 0, 1)) == shards
    assert _order_shards([], 0, 1) == []


def test_shards_are_bounded_in_items_and_seconds() -> None:
    items = [MissingAudio("", seconds, refuse) for seconds in [1.0] * 100 + [200.0] * 4]
    shards = _cut_shards(items)
    assert [len(shard) for shard in shards] == [64, 37, 1, 1, 1]
    assert [item for shard in shards for item in shard] == items


def test_forgotten_temporary_files_go_and_fresh_ones_stay(spoken_items: list[dict], tmp_path: Path) -> None:
    place = fill_plain(tmp_path, spoken_items[:1]).folder
    for name, age in (("old", 7200), ("new", 0)):
        path = place / f".{name}.npy.1.tmp"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    fill_plain(tmp_path, spoken_items[:1])
    assert [path.name for path in place.glob(".*.tmp")] == [".new.npy.1.tmp"]


def test_the_same_audio_twice_is_encoded_once(spoken_items: list[dict], tmp_path: Path) -> None:
    twin = spoken_items[0] | {"id": "twin"}
    assert fill_and_count(tmp_path, [spoken_items[0], twin])[1] == 1


@pytest.mark.parametrize("name", [name for name in OWN_ENCODERS if "file" not in OWN_ENCODERS[name].options])
def test_encoders_of_ones_own_need_no_model(name: str, tmp_path: Path) -> None:
    item = make_items((1.0,))[0]
    cache = fill_feature_cache(tmp_path, [item], encoder_id=name, quiet=True)
    expected = encode(load_encoder(name, None), [item["load"]()])[0]
    np.testing.assert_allclose(cached_features(cache, item), expected, rtol=2**-10, atol=1e-3)
