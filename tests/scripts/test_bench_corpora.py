"""Corpora that benchmarks make: clips of several speakers, disturbed ones, lists of many hours, Markov units."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import pytest
import soundfile

import bench_bpe
import bench_memory
import bench_processes
import bench_scale
import bench_startup
import check_clips
import make_clips
import mix_speakers
import segment_audio

from audio.audio_io import load_audio, save_audio
from audio.track_store import N_BUCKETS, open_bucket
from core.errors import UserError
from core.files import read_json
from core.frames import SAMPLE_RATE
from core.tables import read_table
from segmentation.manifest import check_manifest
from synthetic import save_tiny_encoder, speech_like
from tiny_llm import save_tiny_llm
from units.corpus import read_corpus

# Clips of several speakers.


@pytest.fixture
def voices(tmp_path: Path) -> list[str]:
    """A festvox folder of eight sentences, one of them twice, and a folder of prompts with two that are no speech."""
    festvox, prompts = tmp_path / "ru", tmp_path / "es"
    (festvox / "etc").mkdir(parents=True)
    lines = [f'( s{number} "sentence {number}" )' for number in range(9)]
    (festvox / "etc" / "txt.done.data").write_text("\n".join(lines), encoding="utf-8")
    for number in range(9):
        save_audio(festvox / "wav" / f"s{number}.wav", speech_like(1.6, seed=min(number, 7)))
    texts = "digits/one: one\n; a comment: x\nsilence/1: nothing\nbeep: [a beep]\nhello: Hello there\n"
    prompts.mkdir()
    (prompts / "transcripts.txt").write_bytes(texts.encode("utf-8-sig"))
    for number, name in enumerate(("digits/one", "hello", "beep")):
        path = prompts / "sounds" / f"{name}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        wav = tmp_path / "prompt.wav"
        soundfile.write(wav, speech_like(1.5, seed=20 + number), SAMPLE_RATE)
        write_g722(wav, path)
    return [f"nsh={festvox}", f"es={prompts}"]


def write_g722(source: Path, target: Path) -> None:
    import av

    with av.open(str(target), "w", format="g722") as out:
        stream = out.add_stream("g722", rate=SAMPLE_RATE, layout="mono")
        pcm = np.round(load_audio(source) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)


def test_sentences_are_listed_once_and_without_what_is_no_speech(voices: list[str]) -> None:
    clips = make_clips.list_clips(voices)
    assert [clip.name for clip in clips if clip.speaker == "nsh"] == [f"s{number}" for number in range(8)]
    assert [(clip.name, clip.text) for clip in clips if clip.speaker == "es"] == [
        ("digits_one", "one"),
        ("hello", "Hello there"),
    ]
    with pytest.raises(UserError, match=r"expected etc/txt.done.data or transcripts.txt"):
        list(make_clips.read_texts(Path(voices[0].partition("=")[2]) / "wav"))


def test_clips_keep_their_texts_and_bad_ones_are_left_out(
    voices: list[str], language_roots: dict[str, Path], capsys, monkeypatch
) -> None:
    folder = language_roots["data"] / "clips"
    out = folder / "raw"
    flags = ["--out", str(out), *(word for voice in voices for word in ("--speaker", voice)), "--n_clips", "8"]
    make_clips.main([*flags, "--n_bad", "1"])
    assert "8 clips, " in capsys.readouterr().out
    truth = read_json(out / "truth.json")
    assert len(truth["texts"]) == 8 and set(truth["bad"].values()) == {"empty", "words", "torn", "silent"}
    assert {Path(source).suffix for source in truth["texts"]} == set(make_clips.CODECS)
    for source, seconds in truth["seconds"].items():
        assert len(load_audio(out / source)) / SAMPLE_RATE == pytest.approx(seconds, abs=0.2)
    with pytest.raises(UserError, match="is there already"):
        make_clips.main(flags)
    for name in ("transcripts.tsv", "speakers.tsv"):
        (out / name).rename(folder / name)
    monkeypatch.setattr(sys, "argv", ["segment_audio.py", "--language", "clips", "--num_workers", "1", "--quiet"])
    segment_audio.main()
    capsys.readouterr()
    check_clips.main(["--language", "clips", "--clips", str(out)])
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["texts kept"] == "8 of 8" and said["lost"] == "[]" and said["bad files in the manifest"] == "0"
    assert float(said["audio kept"].rstrip(" %")) > 90 and said["sources in several splits"].startswith("0 of ")
    assert said["failed"]


def test_too_few_clips_of_the_length_are_told(voices: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected 5 clips of that length, found 0"):
        make_clips.main(["--out", str(tmp_path / "o"), "--speaker", voices[0], "--shortest", "5", "--n_clips", "5"])


def test_what_was_lost_is_counted() -> None:
    truth = {"texts": {"a": "one", "b": "two"}, "seconds": {"a": 2.0, "b": 2.0}, "bad": {"c": "torn"}, "absent": []}
    rows = [{"source": "a", "start": 0.0, "end": 1.0, "text": "one"}, {"source": "a", "start": 1.0, "end": 2.0}]
    rows.append({"source": "c", "start": 0.0, "end": 1.0, "text": "x"})
    found = check_clips.compare(rows, truth)
    assert found["texts kept"] == "1 of 2" and found["lost"] == ["b"] and found["clips in one piece"] == 0
    assert found["audio kept"] == "50.00 %" and found["bad files in the manifest"] == 1
    rows = [{"source": "a", "split": "train"}, {"source": "a", "split": "val"}, {"source": "b", "split": "val"}]
    assert check_clips.count_leaks(rows, lambda row: row["source"]) == (1, 2)


def test_disturbed_clips_say_who_speaks_in_the_truth_alone(tmp_path: Path, capsys) -> None:
    for name, pitch in (("ana", 200.0), ("eva", 120.0)):
        for number in range(4):
            save_audio(tmp_path / name / f"{number}.wav", speech_like(0.7, seed=number, pitch_hz=pitch))
    save_audio(tmp_path / "ana" / "quiet.wav", np.zeros(8000, np.float32))
    (tmp_path / "ana" / "torn.wav").write_bytes(b"RIFF")
    voices = ["--speaker", f"ana={tmp_path / 'ana'}", "--speaker", f"eva={tmp_path / 'eva'}"]
    mix_speakers.main(["--out", str(tmp_path / "mixed"), *voices, "--n_clips", "2", "--disturbed", "0.999"])
    captured = capsys.readouterr()
    assert "ana: 2 clips" in captured.out and "torn.wav: left out" in captured.err
    rows = [row for _, row in read_table(tmp_path / "mixed" / "truth.tsv", ("source", "speaker", "disturbance"))]
    assert sorted(row["speaker"] for row in rows) == ["ana", "ana", "eva", "eva"]
    assert all(row["disturbance"] in mix_speakers.KINDS for row in rows)
    # Two of .7 s and what lies between
    lengths = [len(load_audio(tmp_path / "mixed" / row["source"])) / SAMPLE_RATE for row in rows]
    assert lengths == pytest.approx([1.55] * 4, abs=0.1)
    mix_speakers.main(["--out", str(tmp_path / "plain"), *voices, "--n_clips", "1", "--disturbed", "0"])
    rows = [row for _, row in read_table(tmp_path / "plain" / "truth.tsv", ("source", "speaker", "disturbance"))]
    assert [row["disturbance"] for row in rows] == [mix_speakers.CLEAN] * 2
    with pytest.raises(UserError, match="is there already"):
        mix_speakers.parse_args(["--out", str(tmp_path / "plain"), *voices])


# Lists of many hours.


def test_a_corpus_of_lists_is_one_that_scripts_read(tmp_path: Path, capsys, monkeypatch) -> None:
    asked = []

    def watch(command: list[str], environment: dict, ready: str) -> dict:
        asked.append((Path(command[1]).name, ready, environment["DATA_ROOT"]))
        return {"cpu_seconds": 1.0}

    monkeypatch.setattr(bench_scale, "watch", watch)
    flags = [
        "make",
        "voice",
        "tokens",
        "prosody",
        "--hours",
        "0.2",
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "o.json"),
    ]
    bench_scale.main(flags)
    found = read_json(tmp_path / "o.json")
    assert found["make"]["utterances"] == 100 and found["voice"]["first"] == {"cpu_seconds": 1.0}
    root = tmp_path / "hours_0.2"
    assert asked == [
        ("trainer_vocoder.py", "h to train on", str(root / "data")),
        ("trainer_vocoder.py", "h to train on", str(root / "data")),
        ("train_bpe.py", "wrote", str(root / "data")),
        ("trainer_prosody.py", "minutes to train on", str(root / "data")),
    ]
    rows = list(read_corpus(root / "exp" / "synthetic_units" / "corpus_timestamped.json"))
    assert len({row["id"] for row in rows}) == 100 and [row["split"] for row in rows[:3]] == ["val", "test", "train"]
    assert all(sum(row["durations"]) == bench_scale.n_frames() == 360 for row in rows)
    assert all((root / "data" / row["audio"]).is_file() for row in rows)
    buckets = [open_bucket(path) for path in (root / "data" / "synthetic" / "cache").rglob("*.f0")]
    assert len(buckets) == N_BUCKETS and sum(len(bucket.index) for bucket in buckets) == 100
    assert sum(len(bucket.frames) for bucket in buckets) == 100 * 360


def test_recordings_are_repeated_and_weighed(tiny_language: dict, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def run_measured(command: list[str], environment: dict) -> dict:
        asked.append(command)
        exp = Path(environment["EXP_ROOT"]) / f"spanish_{'units' if len(asked) == 1 else 'bpe'}"
        exp.mkdir(parents=True)
        (exp / "a").write_bytes(b"x" * 3_000_000)
        return {"cpu_seconds": 2.0}

    monkeypatch.setattr(bench_scale, "run_measured", run_measured)
    seconds = sum(row["duration"] for row in tiny_language["rows"])
    args = argparse.Namespace(language="spanish", hours=3 * seconds / 3600)
    found = bench_scale.run_real(args, tmp_path / "root")
    assert found["hours"] == pytest.approx(args.hours) and found["units"] == {
        "cpu_seconds": 2.0,
        "files": 1,
        "megabytes": 3,
    }
    assert [Path(command[1]).name for command in asked] == ["extract_units.py", "train_bpe.py"]
    manifest = tmp_path / "root" / "data" / "spanish" / "segments.jsonl"
    assert check_manifest(manifest, tmp_path / "root" / "data")["n_utterances"] == 3 * len(tiny_language["rows"])


WATCHED = """
import sys, time
held = bytearray({megabytes} * 1_000_000)
began = time.process_time()
while time.process_time() - began < 0.3: pass
print("now ready", file=sys.stderr, flush=True)
while time.process_time() - began < 0.6: pass
sys.exit({code})
"""


def test_a_command_is_watched_until_it_is_ready_and_to_its_end() -> None:
    command = [sys.executable, "-c", WATCHED.format(megabytes=60, code=0)]
    found = bench_scale.watch(command, {}, "ready")
    assert 0.25 <= found["cpu_seconds_until_ready"] < 0.58 <= found["cpu_seconds"]
    assert found["anonymous_mib"] > 55 and found["peak_mib"] > 55
    with pytest.raises(UserError, match="failed: now ready"):
        bench_scale.watch([sys.executable, "-c", WATCHED.format(megabytes=1, code=4)], {}, "ready")


# Memory and processes of phase 1: what is compared, not phase 1 itself.


@pytest.mark.parametrize(("peaks", "code"), [((100.0, 105.0), 0), ((100.0, 120.0), 1)])
def test_memory_may_grow_by_a_tenth(peaks: tuple, code: int, tiny_language: dict, monkeypatch, capsys) -> None:
    costs = iter([{"peak_mib": peak, "cpu_seconds": 3.6} for peak in peaks])
    asked = []
    monkeypatch.setattr(bench_memory, "run_measured", lambda command, _: asked.append(command) or next(costs))
    assert bench_memory.main(["--language", "spanish", "--scales", "1", "3", "--", "--n_units", "5"]) == code
    assert f"growth: {peaks[1] - 100:+.1f} %" in capsys.readouterr().out
    assert [command[command.index("--tag") + 1] for command in asked] == ["times1", "times3"]
    assert asked[0][-2:] == ["--n_units", "5"]


@pytest.mark.parametrize(("times", "code"), [((10.0, 5.0), 0), ((10.0, 9.0), 1)])
def test_two_processes_must_be_faster_and_write_the_same(
    times: tuple, code: int, tiny_language: dict, monkeypatch, capsys
) -> None:
    def time_extraction(args: argparse.Namespace, root: Path, n: int) -> tuple[float, float]:
        exp = root / "exp" / f"spanish_units_by{n}"
        exp.mkdir(parents=True, exist_ok=True)
        (exp / bench_processes.CORPUS).write_text("same")
        return times[n - 1], times[n - 1]

    monkeypatch.setattr(bench_processes, "time_extraction", time_extraction)
    assert bench_processes.main(["--language", "spanish", "--repeats", "1"]) == code
    assert f"median ratio, wall: {times[0] / times[1]:.2f}" in capsys.readouterr().out
    bytes_of = iter([b"one", b"other"])
    monkeypatch.setattr(bench_processes, "read_corpora", lambda *_: [next(bytes_of), next(bytes_of)])
    with pytest.raises(UserError, match="expected the same bytes from 1 and 2 processes"):
        bench_processes.main(["--language", "spanish", "--repeats", "1"])


def test_the_seconds_of_a_process_and_what_it_said_where_it_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    script = tmp_path / "src" / "extract_units.py"
    script.parent.mkdir()
    script.write_text("import sys, time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.3: pass\n")
    monkeypatch.setattr(bench_processes, "REPOSITORY", tmp_path)
    args = argparse.Namespace(language="spanish", phase1_flags=[])
    wall, cpu = bench_processes.time_extraction(args, tmp_path, 1)
    assert wall >= 0.3 and 0.1 <= cpu < wall + 0.2
    script.write_text("raise SystemExit('no such language')\n")
    with pytest.raises(UserError, match="expected exit code 0, found 1; its last words are above"):
        bench_processes.time_extraction(args, tmp_path, 1)
    assert "no such language" in capsys.readouterr().err
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert bench_processes.cpu_seconds(ended.pid) == 0 and bench_processes.children(ended.pid) == []


def test_markov_units_never_repeat_and_are_what_phase_2_reads(tmp_path: Path, monkeypatch, capsys) -> None:
    table = bench_bpe.transition_table(6, np.random.default_rng(0))
    assert np.allclose(table[:, -1], 1) and np.allclose(np.diff(table, prepend=0, axis=1)[np.diag_indices(6)], 0)
    rows = list(bench_bpe.synthetic_utterances(70, 30, 6, 0))
    assert len({row["id"] for row in rows}) == 70
    for row in rows:
        assert (np.diff(row["units"]) != 0).all() and row["duration"] == sum(row["durations"]) / 50
    commands = []

    def finish(command: list[str], **_: object) -> None:
        commands.append(command)
        exp = tmp_path / "exp" / "spanish_bpe"
        exp.mkdir()
        train = {"units": 600, "seconds": 36.0, "units_per_token": 1.5}
        (exp / "finished.json").write_text(json.dumps({"splits": {"train": train}}))

    monkeypatch.setattr(bench_bpe.subprocess, "run", finish)
    flags = ["--n_units_total", "600", "--utterance_units", "100", "--n_units", "12", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_bpe.py", *flags])
    bench_bpe.main()
    assert "600 units, 0.0 h" in capsys.readouterr().out and "--vocab_size" in commands[0]
    assert len(list(read_corpus(tmp_path / "exp" / "spanish_units" / "corpus_timestamped.json"))) == 6


# What a start costs.


@pytest.fixture(scope="module")
def startup(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a made corpus of 240 lines."""
    root = tmp_path_factory.mktemp("startup")
    save_tiny_encoder(root / "whisper", "whisper")
    save_tiny_llm(root / "llm")
    flags = ["--folder", root / "large", "--speech_enc_id", root / "whisper", "--llm_id", root / "llm", "--items", 240]
    return list(map(str, flags))


def run_startup(monkeypatch: pytest.MonkeyPatch, job: str, flags: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["bench_startup.py", job, *flags])
    return bench_startup.main()


def test_a_start_is_measured_part_by_part(startup: list[str], tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "found.json"
    assert run_startup(monkeypatch, "make", [*startup, "--out", str(out)]) == 0
    made = read_json(out)
    assert made["items"] == 240 and 0.5 < made["hours"] < 1.2 and made["shards"] > 5
    assert run_startup(monkeypatch, "stages", [*startup, "--first", "--out", str(out)]) == 0
    found = read_json(out)
    names = [row["stage"] for row in found["stages"]]
    assert names[-1] == "all" and "texts" in names and len(names) == 8
    assert found["items"] == sum(number % 100 not in (0, 1) for number in range(240))
    parts = sum(row["cpu_seconds"] for row in found["stages"][:-1])
    assert found["stages"][-1]["cpu_seconds"] == pytest.approx(parts, abs=0.02)
    steps = ["--steps", "3", "--step_seconds", "0.01", "--out", str(out)]
    assert run_startup(monkeypatch, "steps", [*startup, *steps]) == 0
    waits = read_json(out)
    assert {"0_threads", "2_threads"} <= set(waits) and waits["0_threads"]["cpu_ms_a_batch"] > 0
    fill = ["--shards", "3", "--out", str(out)]
    assert run_startup(monkeypatch, "fill", [*startup, *fill]) == 0 and read_json(out)["shards"] == 3


def test_the_trainer_is_started_for_two_steps(startup: list[str], tmp_path: Path, monkeypatch) -> None:
    commands = []

    def run(command: list[str]) -> tuple[subprocess.CompletedProcess, float]:
        commands.append(command)
        return subprocess.CompletedProcess(command, len(commands) - 1, "", "out of memory"), 100.0

    monkeypatch.setattr(bench_startup, "run_watched", run)
    flags = [*startup, "--processes", "2", "--trainer_args", "--lr 1", "--out", str(tmp_path / "found.json")]
    assert run_startup(monkeypatch, "trainer", flags) == 0
    assert "--nproc-per-node=2" in commands[0] and commands[0][-2:] == ["--lr", "1"]
    found = read_json(tmp_path / "found.json")
    assert found["processes"] == 2 and "own_mb" not in found  # what is watched is torchrun itself
    with pytest.raises(UserError, match="ended with 1: out of memory"):
        run_startup(monkeypatch, "trainer", flags)


def test_the_share_of_waiting_is_read_from_the_trainers_own_rows(
    startup: list[str], tmp_path: Path, monkeypatch
) -> None:
    def run(command: list[str]) -> tuple[subprocess.CompletedProcess, float]:
        exp, threads = (Path(command[command.index(flag) + 1]) for flag in ("--exp", "--num_workers"))
        wait = {"0": 0.5, "2": 0.01}[str(threads)]
        rows = [{"data_seconds": 9.0, "step_seconds": 9.0}] * 2 + [{"data_seconds": wait, "step_seconds": 1.0}] * 3
        exp.mkdir(parents=True)
        (exp / "metrics.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"validation_wer": 1.0}])))
        return subprocess.CompletedProcess(command, 0, "", ""), 100.0

    monkeypatch.setattr(bench_startup, "run_watched", run)
    assert run_startup(monkeypatch, "waits", [*startup, "--steps", "5", "--out", str(tmp_path / "found.json")]) == 0
    found = read_json(tmp_path / "found.json")
    assert [found[f"{n}_threads"]["share_of_time_waiting"] for n in (0, 2)] == [0.5, 0.01]
    assert found["0_threads"]["own_mb"] == 105  # 100 MiB
    assert found["0_threads"]["median_wait_ms"] == 500 and found["2_threads"]["longest_wait_ms"] == 10
