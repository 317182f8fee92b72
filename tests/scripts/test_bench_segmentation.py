"""scripts/bench/bench_segmentation.py: shares against known truth, rows that are kept, memory of a run, refusals."""

import json
from pathlib import Path

import numpy as np

import pytest

import bench_segmentation

from audio.audio_io import save_audio
from core.errors import UserError
from core.files import read_json
from core.frames import SAMPLE_RATE
from core.tables import write_table

SPEECH = [(1.0, 3.0), (4.0, 6.0), (7.5, 9.0)]
SECONDS = 10.0


@pytest.fixture
def known(language_roots: dict[str, Path]) -> Path:
    """Two recordings of noise bursts with truth.tsv, and a folder of hum; the language's folder."""
    folder = language_roots["data"] / "spanish"
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        waveform = 1e-4 * random.standard_normal(round(SECONDS * SAMPLE_RATE))
        for start, end in SPEECH:
            place = slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
            waveform[place] = 0.2 * random.standard_normal(place.stop - place.start)
        save_audio(folder / "raw" / f"{name}.wav", waveform.astype(np.float32))
    rows = [(f"{name}.wav", f"{start}", f"{end}") for name in "ab" for start, end in SPEECH]
    write_table(folder / "truth.tsv", ("source", "start", "end"), rows)
    hum = 0.1 * np.sin(2 * np.pi * 100 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    save_audio(language_roots["data"] / "hum" / "hum.wav", hum.astype(np.float32))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    words = ["bench_segmentation.py", "--language", "spanish", "--min_pause", 0.3, *flags]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    return bench_segmentation.main()


def test_shares_by_hand() -> None:
    truth = {"a": [(1.0, 3.0), (4.0, 6.0)]}
    found = bench_segmentation.compare({"a": [(0.5, 3.5), (5.0, 7.0)]}, truth, {"a": 10.0})
    # 2 + 1 of 4 s of speech, .5 + .5 + 1 of 6 s of rest; one of four ends, that at 5 s, is in speech
    assert found == {
        "speech_kept_percent": 75.0,
        "rest_dropped_percent": pytest.approx(100 * 4 / 6),
        "cuts_in_pauses_percent": 75.0,
        "n_cuts": 4,
    }
    lengths = bench_segmentation.describe_lengths({"a": [(0.0, 1.0), (2.0, 4.0)], "b": [(0.0, 6.0)]})
    assert lengths == {"n_segments": 3, "shortest_seconds": 1.0, "median_seconds": 2.0, "longest_seconds": 6.0}


def test_bursts_are_kept_and_cut_in_pauses(known: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "--out", tmp_path / "clean.json", "--noise_db", -60) == 0
    found = read_json(tmp_path / "clean.json")["energy"]
    assert found["speech_kept_percent"] > 99 and found["cuts_in_pauses_percent"] == 100
    assert found["n_cuts"] == 2 * found["n_segments"] and found["audio_hours"] == pytest.approx(20 / 3600)
    assert "speech_kept_percent" in capsys.readouterr().out
    # As loud as the bursts: no pauses are left to drop.
    assert run(monkeypatch, "--out", tmp_path / "noisy.json", "--noise_db", 0) == 0
    noisy = read_json(tmp_path / "noisy.json")["energy"]
    assert noisy["rest_dropped_percent"] < found["rest_dropped_percent"] - 20


def test_tables_by_background_and_rows_that_are_kept(known: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("silero_vad", reason="the bench hears every mixture by the network too")
    out, hum = tmp_path / "rows.json", known.parent / "hum"
    flags = ["--under", hum, "--snr_db", -20, "--gap_seconds", 3, "--out", out]
    assert run(monkeypatch, *flags, "--vad", "energy", "known") == 0
    rows = {(row["background"], row["vad"]): row for row in read_json(out)["rows"]}
    assert set(rows) == {(name, vad) for name in ("none", "hum") for vad in ("energy", "known")}
    assert all(rows[name, "known"]["speech_kept"][0] == pytest.approx(100, abs=0.5) for name in ("none", "hum"))
    assert rows["none", "energy"]["speech_kept"][0] > 99 > rows["hum", "energy"]["speech_kept"][0] + 20
    lines = capsys.readouterr().out.splitlines()
    assert "| background | dB | energy | known |" in lines and any(line.startswith("| hum | -20 | ") for line in lines)
    kept = json.loads(out.read_text())
    kept["rows"][0]["speech_kept"][0] = 12.5  # not measured again
    out.write_text(json.dumps(kept))
    monkeypatch.setattr(bench_segmentation, "judge_mixture", None)
    assert run(monkeypatch, *flags, "--vad", "energy", "known") == 0
    assert "12.5 (" in capsys.readouterr().out


def test_the_network_counts_where_loudness_calls_hum_speech(known: Path, monkeypatch) -> None:
    mixture = bench_segmentation.Mixture(np.zeros(1600), [(0.0, 0.05)], [])
    heard = bench_segmentation.Heard(np.zeros(10), np.zeros(10), np.ones(10, bool))
    for false_share, expected in ((0.0, None), (1.0, heard.spoken)):
        monkeypatch.setattr(bench_segmentation, "loud_without_speech", lambda *_, share=false_share: share)
        assert bench_segmentation.choose_active("auto", heard, mixture, 10.0) is expected
    assert bench_segmentation.choose_active("silero", heard, mixture, 10.0) is heard.spoken
    assert bench_segmentation.choose_active("known", heard, mixture, 10.0).tolist() == [True] * 5 + [False] * 5
    cells = {name: (50.0, 40.0, 60.0, 2) for name in bench_segmentation.SHARES}
    assert bench_segmentation.format_share(cells, "speech_kept") == "50.0 (40.0 to 60.0)"
    assert bench_segmentation.format_share(None, "speech_kept") == "–"


CUTTER = """
import os, sys, time
from pathlib import Path
files = list(Path(os.environ["DATA_ROOT"], "spanish", "raw").iterdir())
Path({note!r}).write_text(" ".join(str(len(files)) + file.suffix for file in files[:1]))
held = bytearray(len(files) * 4_000_000)
time.sleep(0.4)
sys.exit({code})
"""


def test_memory_of_files_and_of_one_long_file(known: Path, tmp_path: Path, monkeypatch) -> None:
    script, note = tmp_path / "cutter.py", tmp_path / "note"
    script.write_text(CUTTER.format(note=str(note), code=0))
    monkeypatch.setattr(bench_segmentation, "SCRIPT", script)
    recording = known / "raw" / "a.wav"
    few, many = (bench_segmentation.peak_memory(recording, n, False, "spanish", 1) for n in (1, 20))
    assert many > few + 50 and note.read_text() == "20.wav"
    bench_segmentation.peak_memory(recording, 3, True, "spanish", 1)
    assert note.read_text() == "1.wav"
    script.write_text(CUTTER.format(note=str(note), code=3))
    with pytest.raises(UserError, match="ended with 3 on 1 x"):
        bench_segmentation.peak_memory(recording, 1, False, "spanish", 1)
    monkeypatch.setattr(bench_segmentation, "peak_memory", lambda _, repeats, long, *__: 100 + repeats * long)
    assert run(monkeypatch, "--memory", "--out", tmp_path / "memory.json") == 0
    found = read_json(tmp_path / "memory.json")["memory"]
    assert found["growth_files_percent"] == 0 and found["growth_one_file_percent"] == pytest.approx(100 * 90 / 110)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--noise_db", "-40", "--under", "x"], "expected one of them"),
        (["--speed"], "one folder in --under"),
        (["--vad", "known"], "expected --under without --speed"),
        (["--memory", "--under", "x"], "expected no --under"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(flags: list[str], said: str, known: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=said):
        run(monkeypatch, *flags)


def test_a_language_without_truth_is_named(known: Path, monkeypatch) -> None:
    (known / "truth.tsv").unlink()
    with pytest.raises(UserError, match=r"truth.tsv: expected known boundaries"):
        run(monkeypatch)
