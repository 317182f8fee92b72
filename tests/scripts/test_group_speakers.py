"""A table of speakers guessed from recordings; what somebody wrote by hand is safe."""

import shutil
import sys
from pathlib import Path

import numpy as np

import pytest

import group_speakers

from core.errors import UserError
from segmentation.tables import read_speakers
from synthetic import store_vector, write_segments

VECTORS = np.eye(256, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny language whose sources have one of two voices by turns; the vectors lie in its cache."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    rows = write_segments(tmp_path, "spanish")
    sources = sorted({row["source"] for row in rows})
    for row in rows:
        store_vector(tmp_path / "spanish" / "cache", row, tmp_path, VECTORS[sources.index(row["source"]) % 2])
    truth = "".join(f"{source}\tvoice {number % 2}\n" for number, source in enumerate(sources))
    (tmp_path / "truth.tsv").write_text("source\tspeaker\n" + truth)
    return tmp_path


def group(monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    monkeypatch.setattr(sys, "argv", ["group_speakers", "--language", "spanish", *map(str, flags)])
    return group_speakers.main()


def test_voices_become_a_table_that_agrees_with_the_truth(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert group(monkeypatch, "--fewest_seconds", 0, "--compare", folder / "truth.tsv") == 0
    shown = capsys.readouterr().out
    assert "purity 1.000, coverage 1.000, 2 groups, 2 speakers" in shown and "speaker_1: " in shown
    table = read_speakers(folder / "spanish" / "speakers.tsv")
    truth = read_speakers(folder / "truth.tsv")
    assert table.keys() == truth.keys() and len(set(zip(table.values(), truth.values()))) == 2
    assert group(monkeypatch, "--n_speakers", 1, "--overwrite") == 0
    assert set(read_speakers(folder / "spanish" / "speakers.tsv").values()) == {"speaker_1"}


def test_a_table_made_by_hand_is_not_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = folder / "spanish" / "speakers.tsv"
    table.write_text("source\tspeaker\na.mp3\tAna\n")
    with pytest.raises(UserError, match="--overwrite replaces it"):
        group(monkeypatch)
    assert "Ana" in table.read_text()
    table.rename(table.with_suffix(".csv"))
    with pytest.raises(UserError, match="move it away"):
        group(monkeypatch, "--overwrite")
    (folder / "field").mkdir()
    shutil.copy(table.with_suffix(".csv"), folder / "field")
    (folder / "spanish" / "raw").symlink_to(folder / "field")
    with pytest.raises(UserError, match=f"copied from {folder}/field/speakers.csv: rename or move that one as well"):
        group(monkeypatch, "--overwrite")


def test_joined_clips_may_have_several_speakers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = folder / "spanish" / "segments.jsonl"
    manifest.write_text(manifest.read_text().replace('"source"', '"parts": [], "source"', 1))
    with pytest.raises(UserError, match="1 segments join several recordings"):
        group(monkeypatch)
