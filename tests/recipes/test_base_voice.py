"""The corpus of the base voice: segments of several languages, and copies at other speeds."""

import json
import runpy
import subprocess

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from languages import language_paths
from segmentation.manifest import check_manifest, count_frames, read_manifest
from synthetic import REPOSITORY, script_environment, speech_like

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


def train_without(leave_out, root):
    """The commands of train.sh, which are shown instead of run, and its exit code."""
    show = 'python() { echo "$@"; }; export -f python; exec bash "$0" --batch_size 8'
    variables = {"LEAVE_OUT": leave_out, "DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp")}
    command = ["bash", "-c", show, str(SCRIPT.with_name("train.sh"))]
    done = subprocess.run(command, check=False, env=script_environment(variables), capture_output=True, text=True)
    return done.stdout.replace(f"{REPOSITORY}/", "").replace(f"{root}/", "").splitlines(), done


def test_one_command_trains_and_saves_it_with_every_licence(tmp_path):
    for language in ("base_voice_no_spanish", "english", "italian", "russian_prompts", "russian"):
        (tmp_path / "data" / language).mkdir(parents=True)
        (tmp_path / "data" / language / "segments.jsonl").touch()
        (tmp_path / "data" / language / "ATTRIBUTION.txt").write_text(f"Name who spoke {language}.")
        (tmp_path / "data" / language / "LICENSE_SOURCE.txt").write_text("One for all.")
    data = tmp_path / "data" / "base_voice_no_spanish"
    for file in data.glob("*.txt"):
        file.unlink()
    shown, done = train_without("spanish", tmp_path)
    assert done.returncode == 0, done.stderr
    scripts = [line.split()[0] for line in shown]
    assert scripts == [
        f"src/{name}.py" for name in ("extract_units", "trainer_vocoder", "trainer_prosody", "export_vocoder")
    ]
    assert all("--init none" in line for line in shown[1:3]) and shown[1].endswith("--batch_size 8")
    assert "--out voices/base_v4_no_spanish --overwrite --half --no_torchscript --no_page" in shown[3]
    texts = {path.stem for path in data.glob("*.txt")}
    assert texts == {
        "LICENSE_SOURCE_english",
        *(f"ATTRIBUTION_{name}" for name in ("english", "italian", "russian_prompts", "russian")),
    }
    about = (data / "about.md").read_text()
    assert "| `russian` |" in about and "| `english` |" in about and "| `spanish` |" not in about


def test_a_language_that_the_base_does_not_hear_cannot_be_left_out(tmp_path):
    _, done = train_without("aari", tmp_path)
    assert done.returncode == 2 and "LEAVE_OUT=aari: expected one of english" in done.stderr
