"""Copies of a language at other speeds: whose they are, how long, what stays the original's alone."""

import json
from pathlib import Path

import pytest

from audio.audio_io import load_audio, save_audio
from languages import language_paths
from segmentation.manifest import check_manifest, read_manifest
from synthetic import run_script, speech_like


@pytest.fixture
def roots(tmp_path):
    """A language of six segments, three to train on, one of these flagged, with a licence."""
    data, rows = tmp_path / "data" / "aari", []
    for number in range(6):
        audio = f"aari/segments/s{number}.wav"
        (tmp_path / "data" / audio).parent.mkdir(parents=True, exist_ok=True)
        waveform = speech_like(0.4 + 0.05 * number, number)
        save_audio(tmp_path / "data" / audio, waveform)
        split, flags = ("train", "val")[number % 2], ["noise_or_music"] if number == 4 else []
        seconds = len(waveform) / 16000
        row = {"id": f"s{number}", "audio": audio, "source": f"{number}.mp3", "start": 0.0, "end": seconds}
        rows.append(row | {"duration": seconds, "speaker": "ana" if number else None, "split": split, "flags": flags})
    rows[2]["parts"] = [{"source": "2.mp3", "start": 0.0, "end": 0.3, "offset": 0.1}]
    (data / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "LICENSE.txt").write_text("free")
    return {"DATA_ROOT": str(tmp_path / "data"), "EXP_ROOT": str(tmp_path / "exp")}


def copy(roots, *flags, language="aari", code=0):
    return run_script("scripts/copy_at_speeds.py", "--language", language, *flags, env=roots, code=code)


def test_every_clean_training_segment_at_every_speed(roots, monkeypatch):
    done = copy(roots, "--speeds", "0.8", "1.1")
    monkeypatch.setenv("DATA_ROOT", roots["DATA_ROOT"])
    paths = language_paths("aari_copies")
    rows = {row["id"]: row for row in read_manifest(paths["manifest"])}
    assert set(rows) == {f"s{number}" for number in range(6)} | {"s0_x80", "s0_x110", "s2_x80", "s2_x110"}
    assert {row["split"] for name, row in rows.items() if "_x" in name} == {"train"}
    assert rows["s0"]["speaker"] == "aari" and rows["s0_x80"]["speaker"] == "aari_x80"
    assert rows["s2_x110"]["speaker"] == "ana_x110" and "parts" in rows["s2"] and "parts" not in rows["s2_x110"]
    before, after = (load_audio(paths["data"].parent / rows[name]["audio"]) for name in ("s0", "s0_x80"))
    assert len(after) == pytest.approx(len(before) / 0.8, abs=2)
    assert check_manifest(paths["manifest"], paths["data"].parent)["n_utterances"] == 10
    assert (paths["data"] / "LICENSE.txt").read_text() == "free"
    assert "extract_units.py --language aari_copies --kmeans" in done.stdout


def test_the_next_command_is_of_the_chain_that_the_tag_names(roots):
    said = copy(roots, "--tag", "s4").stdout
    assert "extract_units.py --language aari_copies --tag s4 --kmeans" in said and "aari_units_s4/kmeans.npz" in said


def test_again_gives_the_same_and_writes_no_sound_twice(roots, monkeypatch):
    copy(roots)
    monkeypatch.setenv("DATA_ROOT", roots["DATA_ROOT"])
    paths = language_paths("aari_copies")
    manifest = paths["manifest"].read_bytes()
    written = {path: path.stat().st_mtime_ns for path in paths["segments"].glob("*.wav")}
    copy(roots)
    assert paths["manifest"].read_bytes() == manifest
    assert {path: path.stat().st_mtime_ns for path in paths["segments"].glob("*.wav")} == written


@pytest.mark.parametrize(
    "flags, language, said",
    [
        (("--speeds", "1"), "aari", "--speeds 1: expected 0.5 to 2, and not 1"),
        (("--speeds", "1.1", "9"), "aari", "--speeds 9: expected 0.5 to 2"),
        (("--speeds", "1.1", "1.101"), "aari", "--speeds 1.1 1.101: two are the same in hundredths"),
        ((), "spanish", "segments.jsonl: expected segments, found none; run: python scripts/segment_audio.py"),
    ],
)
def test_what_cannot_be_copied_is_told_in_one_line(roots, flags, language, said):
    done = copy(roots, *flags, language=language, code=2)
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not (Path(roots["DATA_ROOT"]) / f"{language}_copies").exists()
