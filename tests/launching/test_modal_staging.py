"""Segments on a container's own disk: the same files, what is computed from them on the volume, nothing left behind."""

import shutil
from pathlib import Path

import numpy as np

import pytest

from audio.pitch import fill_f0_cache, kept_f0
from languages import resolve_in
from launching import modal_staging
from launching.modal_staging import staged_segments


def test_the_command_reads_copies_and_its_caches_stay(tiny_language: dict, tmp_path: Path) -> None:
    data, local, row = tiny_language["data"], tmp_path / "own disk" / "data", tiny_language["rows"][0]
    (data / "english").mkdir()
    (data / "english" / "segments.jsonl").write_text("")
    local.parent.mkdir()
    with staged_segments("spanish", data, local) as variables:
        assert variables == {"DATA_ROOT": str(local)}
        copy = resolve_in(local, row["audio"])
        assert copy.read_bytes() == (data / row["audio"]).read_bytes() and not copy.is_symlink()
        assert copy.stat().st_mtime_ns == (data / row["audio"]).stat().st_mtime_ns
        assert (local / "spanish" / "segments.jsonl").read_bytes() == (data / "spanish/segments.jsonl").read_bytes()
        assert (local / "english" / "segments.jsonl").exists()
        fill_f0_cache(local / "spanish" / "cache", [(row["id"], copy)], num_workers=1)
        f0 = np.array(kept_f0(local / "spanish" / "cache", row["id"]))
    assert not local.exists()
    assert (kept_f0(data / "spanish" / "cache", row["id"]) == f0).all() and (data / row["audio"]).exists()


def test_without_room_or_manifest_the_volume_is_read(tiny_language: dict, tmp_path: Path, monkeypatch, capsys) -> None:
    data, local = tiny_language["data"], tmp_path / "local"
    for language in (None, "english"):
        with staged_segments(language, data, local) as variables:
            assert variables == {}
    monkeypatch.setattr(modal_staging.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    with staged_segments("spanish", data, local) as variables:
        assert variables == {} and "the segments are read from the volume" in capsys.readouterr().err
    monkeypatch.undo()
    (data / tiny_language["rows"][2]["audio"]).unlink()
    with staged_segments("spanish", data, local) as variables:
        assert variables == {}
    assert not local.exists()


def test_a_command_that_fails_leaves_no_copies(tiny_language: dict, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged_segments("spanish", tiny_language["data"], tmp_path / "local"):
        raise KeyboardInterrupt("preempted")
    assert not (tmp_path / "local").exists()
