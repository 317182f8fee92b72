"""scripts/inspect_recordings.py on folders whose faults are known: what it says, and how near its numbers are."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import pytest
import soundfile
from scipy.signal import resample_poly

from audio.audio_io import load_audio
from core.frames import SAMPLE_RATE
from segmentation.inspection import InspectionJob, inspect_recording
from synthetic import REPOSITORY, speech_like, write_mp3

SCRIPT = REPOSITORY / "scripts" / "inspect_recordings.py"
SECONDS = 20.0


def look(folder: Path, *flags: object) -> subprocess.CompletedProcess:
    """As somebody runs it who has set nothing."""
    names = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
    kept = (name for name in os.environ if name in names or name.startswith("COVERAGE_"))
    environment = {name: os.environ[name] for name in kept}
    command = [sys.executable, str(SCRIPT), str(folder), "--num_workers", "1", "--quiet", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def measure(path: Path) -> dict:
    found = inspect_recording(InspectionJob(path.name, path))
    assert not isinstance(found, str), found
    return found.row


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def noise(n_samples: int, amplitude: float, seed: int = 1) -> np.ndarray:
    return amplitude * np.random.default_rng(seed).standard_normal(n_samples)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording of every fault, and what lies beside recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    speech = [speech_like(SECONDS, seed=seed) for seed in range(8)]
    write(folder / "good.wav", speech[0])
    write_mp3(folder / "good.m4a", speech[1])
    write(folder / "clipped.wav", np.clip(6 * speech[2], -1, 1))
    write(folder / "quiet.wav", 0.05 * speech[3])
    write(folder / "deep" / "noisy.flac", np.clip(0.5 * speech[4] + noise(len(speech[4]), 0.008), -1, 1))
    write(folder / "half.wav", np.stack([speech[5], noise(len(speech[5]), 1e-5)], axis=1))
    write(folder / "telephone.wav", speech[6][::2], 8000)
    write(folder / "copy.wav", speech[0])
    (folder / "broken.mp3").write_bytes(bytes(range(256)) * 40)
    (folder / "empty.wav").write_bytes(b"")
    for name in ("photo.jpg", "other.jpg", "report.docx"):
        (folder / name).write_bytes(b"no sound")
    (folder / "good.txt").write_text("plain words\n", encoding="utf-8")
    (folder / "quiet.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhola\n", encoding="utf-8")
    (folder / "speakers.tsv").write_text("source\tspeaker\ngood.wav\tMaria\nquiet.wav\tJose\n", encoding="utf-8")
    rows = "source\tstart\tend\ttext\ngood.wav\t1\t2\thola\ngood.wav\t3\t4\tque tal\ngone.wav\t\t\tnada\n"
    (folder / "transcripts.tsv").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def looked(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict, str]:
    """(terminal, JSON, page) of the mixed folder."""
    out = tmp_path_factory.mktemp("out")
    before = sorted(mixed.rglob("*"))
    done = look(mixed, "--json", out / "found.json", "--out", out / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(mixed.rglob("*")) == before
    return done.stdout, json.loads((out / "found.json").read_text("utf-8")), (out / "page.html").read_text("utf-8")


def test_each_fault_is_found_and_no_other(looked: tuple[str, dict, str]) -> None:
    flags = {row["source"]: row["flags"] for row in looked[1]["recordings"]}
    assert flags == {
        "clipped.wav": ["clipped"],
        "copy.wav": [],
        "deep/noisy.flac": ["noisy"],
        "good.m4a": [],
        "good.wav": ["repeated"],
        "half.wav": ["dead_channel"],
        "quiet.wav": ["quiet"],
        "telephone.wav": ["low_rate"],
    }
    assert set(looked[1]["unreadable"]) == {"broken.mp3", "empty.wav"}
    assert "0 bytes" in looked[1]["unreadable"]["empty.wav"]


def test_the_terminal_says_first_what_to_do(looked: tuple[str, dict, str]) -> None:
    lines = looked[0].splitlines()
    assert "10 recordings" in lines[0]
    todo = [line for line in lines if line.startswith("! ")]
    assert "! 1 of 10 recordings clips; lower the recorder's level: clipped.wav" in todo
    assert "! 2 of 10 recordings cannot be read; copy or convert again: broken.mp3, empty.wav" == todo[0]
    assert any("gone.wav (transcripts.tsv)" in line for line in todo)
    assert any("without times" in line and "good.txt" in line for line in todo)
    assert max(map(lines.index, todo)) < min(number for number, line in enumerate(lines) if "sample rates" in line)
    said = {line[:16].strip(): line[17:] for line in lines if line[:1].isalpha()}
    assert said["ignored"].startswith("2 .jpg, 1 .docx")
    assert said["speakers"] == "2, with recordings: Maria (1), Jose (1)"
    minutes = re.fullmatch(r"Maria (\S+) min, Jose (\S+) min; (\S+) min of nobody named", said["who speaks"])
    assert minutes and all(float(value) > 0 for value in minutes.groups())
    assert said["texts"].startswith("3 for 2 of 8 recordings")
    assert "8000 Hz: 1" in said["sample rates"] and "mov / aac: 1" in said["formats"]


def test_a_voice_on_one_channel_needs_no_export(looked: tuple[str, dict, str]) -> None:
    assert (
        "has a dead channel; check the cable before the next one; the voice on the other channel is used" in looked[0]
    )


def test_seconds_are_those_of_decoded_samples(looked: tuple[str, dict, str]) -> None:
    seconds = {row["source"]: row["seconds"] for row in looked[1]["recordings"]}
    assert seconds.pop("good.m4a") == pytest.approx(SECONDS, abs=0.15)  # a codec pads
    assert set(seconds.values()) == {SECONDS}
    assert looked[1]["hours"] == pytest.approx(8 * SECONDS / 3600, rel=0.01)


def test_a_voice_is_only_promised_where_it_was_measured(looked: tuple[str, dict, str]) -> None:
    from report.expected_voice import MEASURED_VOICES, expected_voice
    from report.inspection import VOICE_MINUTES

    assert looked[1]["voice"][0].startswith("not measured")
    assert expected_voice(32.0, differs=[])[0].startswith("22 minutes of speech to train on: near what was measured")
    assert expected_voice(600.0, differs=[])[0].startswith("not measured: 7.0 hours")
    between = expected_voice(14.0, differs=[])[0]
    assert between.startswith("not measured: 9.8 minutes") and between.endswith("lie between measurements.")
    shell = (REPOSITORY / "scripts" / "shell_functions.sh").read_text("utf-8")
    assert f"SMALL_RECIPE_MINUTES={VOICE_MINUTES:.0f}\n" in shell, "the budget that it names is the one that is spent"
    usage = (REPOSITORY / "docs" / "usage.md").read_text("utf-8")
    assert f"| training | {VOICE_MINUTES:.0f}, whatever the length |" in usage
    for voice in MEASURED_VOICES:
        page = (REPOSITORY / voice.page).read_text("utf-8")
        assert f"{voice.cer:.3f}".lstrip("0") in page and f"{voice.mos:.2f}" in page


def test_the_page_needs_nothing_else(looked: tuple[str, dict, str]) -> None:
    page = looked[2]
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("<audio") == page.count("data:audio/mpeg;base64,") == 5  # a copy needs none
    assert page.count("<svg") == 6 + 6  # a curve for each flagged recording, and the histograms
    assert "2 .jpg" in page and "broken.mp3" in page


@pytest.mark.parametrize("expected", [0, 6, 12, 20, 30])
def test_the_ratio_of_speech_to_noise_is_near(tmp_path: Path, expected: float) -> None:
    """Within 2 dB of what was mixed, white noise, 0 to 30 dB."""
    speech = 0.3 * speech_like(30.0, seed=3)
    power = np.mean(speech[np.abs(speech) > 0.003] ** 2)
    clean = measure(write(tmp_path / "clean.wav", speech))
    spoken = 10 ** (clean["level_dbfs"] / 20)
    assert spoken == pytest.approx(np.sqrt(power), rel=0.25)
    amplitude = spoken / 10 ** (expected / 20)
    row = measure(write(tmp_path / "mixed.wav", speech + noise(len(speech), amplitude)))
    assert row["snr_db"] == pytest.approx(expected, abs=2.0)
    assert row["noise_dbfs"] == pytest.approx(20 * np.log10(amplitude), abs=1.0)
    assert ("noisy" in row["flags"]) == (expected < 15)


@pytest.mark.parametrize("gain_db", [-30, -20, -6, 0])
def test_levels_follow_the_gain(tmp_path: Path, gain_db: float) -> None:
    speech = speech_like(SECONDS, seed=4)
    plain = measure(write(tmp_path / "plain.wav", speech))
    row = measure(write(tmp_path / "turned.wav", speech * 10 ** (gain_db / 20)))
    assert row["level_dbfs"] == pytest.approx(plain["level_dbfs"] + gain_db, abs=0.3)
    assert row["peak_dbfs"] == pytest.approx(20 * np.log10(np.abs(speech).max()) + gain_db, abs=0.1)


@pytest.mark.parametrize("name", ["loud.wav", "loud.flac", "loud.mp3", "turned_down.wav"])
def test_clipping_is_found_in_every_codec_and_after_turning_down(tmp_path: Path, name: str) -> None:
    clipped = np.clip(6 * speech_like(SECONDS, seed=5), -1, 1)
    share = np.mean(np.abs(clipped) >= 1)
    if name.endswith(".mp3"):
        row = measure(write_mp3(tmp_path / name, clipped))
    else:
        row = measure(write(tmp_path / name, clipped * (0.4 if name.startswith("turned") else 1)))
    assert "clipped" in row["flags"]
    least = 0.01 if name.endswith(".mp3") else 0.3  # a lossy codec ripples most of it below full scale
    assert least * share < row["clipped_share"] < 1.5 * share


@pytest.mark.parametrize("name", ["loud.wav", "loud.mp3"])
def test_loud_but_whole_is_not_clipped(tmp_path: Path, name: str) -> None:
    speech = speech_like(SECONDS, seed=5)
    speech = 0.999 * speech / np.abs(speech).max()
    row = measure((write_mp3 if name.endswith("mp3") else write)(tmp_path / name, speech))
    assert row["clipped_share"] < 5e-5 and row["flags"] == []


def test_channels_are_told_apart(tmp_path: Path) -> None:
    speech = speech_like(SECONDS, seed=6)
    opposed = measure(write(tmp_path / "opposed.wav", np.stack([speech, -0.98 * speech], axis=1)))
    assert opposed["opposed_channels"] and opposed["flags"][0] == "opposed_channels"
    same = measure(write(tmp_path / "same.wav", np.stack([speech, speech], axis=1)))
    assert same["channels"] == 2 and same["flags"] == []
    dead = measure(write(tmp_path / "dead.wav", np.stack([np.zeros_like(speech), speech], axis=1)))
    assert dead["dead_channels"] == [1] and "dead_channel" in dead["flags"]


def test_a_telephone_is_known_whatever_the_rate_says(tmp_path: Path) -> None:
    speech = resample_poly(resample_poly(speech_like(SECONDS, seed=7), 1, 2), 6, 1)
    row = measure(write(tmp_path / "up.wav", speech, 48_000))
    assert row["rate_hz"] == 48_000 and row["flags"] == ["dull"]


def test_a_steady_offset_is_no_sound(tmp_path: Path) -> None:
    speech = 0.5 * speech_like(SECONDS, seed=3)
    plain, moved = (measure(write(tmp_path / f"{mean}.wav", speech + mean)) for mean in (0.0, 0.1))
    assert moved["offset"] == pytest.approx(0.1, abs=0.005) and moved["flags"] == ["offset"]
    for name in ("level_dbfs", "noise_dbfs", "snr_db"):
        assert moved[name] == pytest.approx(plain[name], abs=2.0)


def test_a_place_to_listen_to_is_where_it_clips(tmp_path: Path) -> None:
    speech = 0.3 * speech_like(60.0, seed=8)
    speech[30 * SAMPLE_RATE : 35 * SAMPLE_RATE] = np.clip(20 * speech[30 * SAMPLE_RATE : 35 * SAMPLE_RATE], -1, 1)
    found = inspect_recording(InspectionJob("part.wav", write(tmp_path / "part.wav", speech), listen=True))
    (tmp_path / "heard.mp3").write_bytes(found.sample)
    heard = load_audio(tmp_path / "heard.mp3")
    assert len(heard) / SAMPLE_RATE == pytest.approx(5.0, abs=0.1) and np.abs(heard).max() > 0.9


def test_silence_and_gates_are_no_numbers(tmp_path: Path) -> None:
    assert measure(write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE * 5)))["flags"] == ["silent"]
    gated = speech_like(SECONDS, seed=9)
    gated[np.abs(gated) < 0.002] = 0
    row = measure(write(tmp_path / "gated.wav", gated))
    assert row["snr_db"] is None and row["noise_dbfs"] is None and row["flags"] == []


def test_annotations_say_speakers_tiers_and_languages(tmp_path: Path) -> None:
    from annotations.spans import Span
    from annotations.write_annotations import write_eaf

    write(tmp_path / "session.wav", speech_like(6.0))
    spans = [Span("tx@Ana", 0.5, 1.5, "hola", "Ana"), Span("tx@Beto", 2.0, 3.0, "que tal", "Beto")]
    write_eaf(tmp_path / "session.eaf", spans, tmp_path / "session.wav", 6.0)
    text = (tmp_path / "session.eaf").read_text("utf-8")
    language = '<LANGUAGE LANG_DEF="x" LANG_ID="mav" LANG_LABEL="Satere"/>'
    (tmp_path / "session.eaf").write_text(text.replace("</ANNOTATION_DOCUMENT>", f"{language}</ANNOTATION_DOCUMENT>"))
    write_eaf(tmp_path / "elsewhere.eaf", spans, tmp_path / "gone.wav", 6.0)
    (tmp_path / "torn.eaf").write_text(text[:200])
    done = look(tmp_path, "--json", tmp_path / "found.json")
    texts = json.loads((tmp_path / "found.json").read_text("utf-8"))["texts"]
    assert texts["texts"] == {"session.wav": 2} and texts["speakers"] == {"Ana": 1, "Beto": 1}
    assert texts["spoken_seconds"] == {"Ana": 1.0, "Beto": 1.0}
    assert texts["languages"] == {"Satere": 1} and texts["unmatched"] == ["elsewhere.eaf"]
    assert list(texts["unreadable"]) == ["torn.eaf"]
    assert done.returncode == 0 and "torn.eaf cannot be used" in done.stdout and "2 speakers" in done.stdout


@pytest.mark.parametrize("content", [{}, {"photo.jpg": b"x"}])
def test_a_folder_without_audio_is_one_line(tmp_path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    done = look(tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert ("1 .jpg" if content else "an empty folder") in done.stderr


def test_a_wrong_path_is_one_line(tmp_path: Path) -> None:
    done = look(tmp_path / "nowhere")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    long = write(tmp_path / "raw" / "a.flac", speech_like(120.0))
    for number in range(400):
        (tmp_path / "raw" / f"b{number}.flac").symlink_to(long)
    # What a shell starts in the background ignores interrupts, and so would all that it starts.
    started = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, str(SCRIPT), str(tmp_path / "raw"), "--num_workers", "2"]
    with open(tmp_path / "said", "w") as said:
        running = subprocess.Popen(
            [sys.executable, "-c", started, *command], stdout=said, stderr=said, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while len(workers_of(running.pid)) < 2:
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=60) == -signal.SIGINT  # a shell calls it 130
    finally:
        running.kill()
    words = (tmp_path / "said").read_text()
    assert words.strip().splitlines()[-1] == "interrupted" and "Traceback" not in words


def workers_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
