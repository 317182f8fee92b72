"""The corpus of the base voice: segments of several languages, and copies at other speeds."""

import json
import runpy

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from languages import language_paths
from segmentation.manifest import check_manifest, count_frames, read_manifest
from synthetic import REPOSITORY, speech_like

SCRIPT = REPOSITORY / "recipes" / "base_voice" / "build_corpus.py"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the script over two languages of six segments, half of them to train on; returns the rows by id."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    for language in ("aari", "bemba"):
        write_language(tmp_path, language)

    def run(*flags):
        monkeypatch.setattr("sys.argv", [str(SCRIPT), "--sources", "aari", "bemba", *flags])
        assert runpy.run_path(str(SCRIPT))["main"]() == 0
        return {row["id"]: row for row in read_manifest(language_paths("base_voice")["manifest"])}

    return run


def write_language(root, language):
    rows = []
    for number in range(6):
        audio = f"{language}/segments/s{number}.wav"
        (root / audio).parent.mkdir(parents=True, exist_ok=True)
        waveform = speech_like(0.4 + 0.05 * number, number)
        save_audio(root / audio, waveform)
        split, seconds = ("train", "val")[number % 2], len(waveform) / 16000
        row = {"id": f"s{number}", "audio": audio, "source": f"{number}.mp3", "start": 0.0, "end": seconds}
        rows.append(row | {"duration": seconds, "speaker": None, "split": split, "flags": []})
    (root / language / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_all_segments_and_copies_of_the_training_split_only(build, tmp_path):
    rows = build("--copied", "0.999")
    originals = {name for name in rows if "_x" not in name}
    assert len(originals) == 12
    copied = [row for name, row in rows.items() if name not in originals]
    assert len(copied) == 6 and {row["split"] for row in copied} == {"train"}
    assert {row["speaker"] for row in rows.values()} >= {"aari", "bemba"}
    assert check_manifest(language_paths("base_voice")["manifest"], tmp_path)["n_utterances"] == 18


def test_a_slower_copy_is_longer_lower_and_whole_in_frames(build, tmp_path):
    rows = build("--copied", "0.999", "--rates", "0.8")
    old, new = rows["bemba_s4"], rows["bemba_s4_x80"]
    before, after = (load_audio(tmp_path / row["audio"]) for row in (old, new))
    assert len(after) == pytest.approx(len(before) / 0.8, abs=2)
    assert count_frames(new) == len(after) // 320
    assert _centroid(after) == pytest.approx(0.8 * _centroid(before), rel=0.08)
    assert new["speaker"] == "bemba_x80"


def _centroid(waveform):
    """Mean frequency of the spectrum, Hz."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((np.fft.rfftfreq(len(waveform), 1 / 16000) * power).sum() / power.sum())


def test_same_sources_same_corpus(build):
    assert build() == build()


def test_no_copies(build):
    assert len(build("--rates")) == 12


def test_a_source_without_segments_names_its_recipe(build):
    with pytest.raises(UserError, match=r"spanish/segments.jsonl: expected segments.*bash recipes/spanish/prepare.sh"):
        build("--sources", "aari", "spanish")
