"""Disturbed copies: the clean one first, each of its own chance, and what cannot be read is left out by name."""

from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from encoders.encode import encode, load_encoder
from synthetic import write_segments
from units.clusters import UnitClusters
from units.denoising_copies import read_copies

CLUSTERS = UnitClusters([np.zeros((2, 39), np.float32)], np.full(39, 2, np.float32), np.full(39, 4, np.float32))


@pytest.fixture
def rows(tmp_path: Path) -> list[dict]:
    return write_segments(tmp_path, n_train=3, n_val=0, n_test=0)


def copies_of(rows: list[dict], root: Path, seed: int = 0, **settings: object) -> list[list[np.ndarray]]:
    return read_copies(load_encoder("mfcc", None), rows, root, CLUSTERS, seed, quiet=True, **settings)


def test_copies_follow_the_clean_features_and_depend_on_seed_and_name_alone(rows: list[dict], tmp_path: Path) -> None:
    first = copies_of(rows, tmp_path, n_copies=2)
    assert [len(one) for one in first] == [3, 3, 3] and len(copies_of(rows[:1], tmp_path)[0]) == 5
    encoder = load_encoder("mfcc", None)
    for row, found in zip(rows, first):
        clean = encode(encoder, [load_audio(tmp_path / row["audio"])])[0]
        np.testing.assert_allclose(found[0], (clean - 2) / 4, atol=1e-5)
        assert {one.shape for one in found} == {clean.shape}
        assert not np.array_equal(found[1], found[2])
    disturbed = [np.abs(one - found[0]).max() > 0.1 for found in first for one in found[1:]]
    assert sum(disturbed) >= 4, "but for those that chance lets be"
    again, other = copies_of(rows, tmp_path, n_copies=2), copies_of(rows, tmp_path, seed=1, n_copies=2)
    for one, same, differing in zip(first, again, other):
        assert all(map(np.array_equal, one, same)) and not np.array_equal(one[1], differing[1])


def test_what_disturbs_a_copy_is_drawn_by_its_number(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = []

    def note(waveform: np.ndarray, dice: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
        asked.append((dice.random(), [len(other) for other in others]))
        return waveform

    monkeypatch.setattr("units.denoising_copies.augment", note)
    copies_of(rows, tmp_path, n_copies=2)
    lengths = [len(load_audio(tmp_path / row["audio"])) for row in rows]
    assert [others for _, others in asked[::2]] == [lengths[1:], lengths[::2], lengths[:2]], "babble of the others"
    assert len({number for number, _ in asked}) == 6
    assert capsys.readouterr().err == "", "quiet shows no bar"


def test_what_cannot_be_read_is_left_out_and_told(
    rows: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr("units.denoising_copies.log.warning", lambda text, *values: said.append(text % values))
    save_audio(tmp_path / rows[0]["audio"], np.full(319, 0.1, np.float32))
    save_audio(tmp_path / rows[1]["audio"], np.full(320, 0.1, np.float32))
    (tmp_path / rows[2]["audio"]).unlink()
    assert [len(one[0]) for one in copies_of(rows, tmp_path, n_copies=1)] == [1]
    assert [line.partition(":")[0] for line in said] == ["--augment"] * 2
    assert said[0].startswith(f"--augment: left out {rows[0]['id']}: ") and "319" in said[0]
    assert said[1].startswith(f"--augment: left out {rows[2]['id']}: ")
    with pytest.raises(UserError, match="segments to learn noise from, found none readable of 2$"):
        copies_of(rows[::2], tmp_path)
