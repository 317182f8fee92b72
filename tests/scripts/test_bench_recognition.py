"""Benchmarks of recognition on tiny models: rounds of correction, errors met first, what a feature cache is worth."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import pytest

import bench_confidence
import bench_corrections
import bench_feature_cache
import bench_launch
import bench_wer
import measure_code
import simulate_listeners
from speech_texts import write_texts

from core.errors import UserError
from core.files import read_json
from launching.job import END_STATES
from synthetic import save_tiny_encoder
from tiny_llm import save_tiny_llm


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("recognition")
    write_texts(root / "data", "spanish")
    found = {"data": root / "data" / "spanish", "llm": root / "llm", "whisper": root / "whisper", "root": root}
    save_tiny_encoder(found["whisper"], "whisper")
    save_tiny_llm(found["llm"])
    return found


@pytest.mark.parametrize("connector", ["transformer", "encoder"])
def test_rounds_of_correction_are_simulated(world: dict[str, Path], tmp_path: Path, capsys, connector: str) -> None:
    out = tmp_path / "corrections.json"
    flags = ["--data", world["data"], "--speech_enc_id", world["whisper"], "--llm_id", world["llm"], "--out", out]
    flags += ["--start_minutes", 0.08, "--round_minutes", 0.04, "--rounds", 1, "--steps", 4, "--seeds", 0]
    flags += ["--connector", connector, "--padding", "short", "--width", 32, "--batch_size", 2]
    flags += ["--feature_cache", world["root"] / "features", "--ctc_consistency", 0.2 if connector == "encoder" else 0]
    bench_corrections.main(list(map(str, flags)))
    rows = read_json(out, list)
    assert [(row["order"], row["round"]) for row in rows] == [("start", 0), ("least sure", 1), ("random", 1)]
    assert all(len(row["edits"]) == 2 and row["cer"] >= 0 for row in rows)
    assert rows[1]["n_words"] > rows[0]["n_words"] and rows[1]["minutes"] > rows[0]["minutes"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "| seed | order | minutes | CER | WER |" and shown[-1].startswith("| random |")

    pooled = ["--out", tmp_path / "pooled.json", "--picture", tmp_path / "wer.png", "--earlier", out]
    bench_corrections.main(list(map(str, [*flags[:6], *flags[8:], *pooled, "--seeds"])))
    assert read_json(tmp_path / "pooled.json", list) == rows and (tmp_path / "wer.png").stat().st_size > 5000
    assert capsys.readouterr().out.splitlines() == shown
    with pytest.raises(UserError, match="expected each seed once, found 0 twice"):
        bench_corrections.main(list(map(str, [*flags, "--earlier", out])))


def test_errors_and_confidence_of_a_trained_model(world: dict[str, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    rows = [
        {"id": "a", "seconds": 2.0, "confidence": 0.1, "doubt": 3.0, "errors": 3, "words": 4},
        {"id": "b", "seconds": 2.0, "confidence": 0.9, "doubt": 0.1, "errors": 0, "words": 4},
    ]
    monkeypatch.setattr(bench_confidence, "read_split", lambda _: rows)
    flags = ["--model", tmp_path, "--data", world["data"], "--out", tmp_path / "confidence.json"]
    bench_confidence.main(list(map(str, flags)))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "2 utterances, 3 word errors in 8 words"
    assert shown[-1].startswith("| 50% | 1.00 [") and shown[-1].endswith("| 0.50 |")
    assert read_json(tmp_path / "confidence.json", list) == rows


def test_steps_with_and_without_the_cache_are_compared(
    world: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        commands.append(command)
        exp = Path(command[command.index("--exp") + 1])
        exp.mkdir(parents=True)
        took = 1.0 if "--feature_cache" in command else 3.0
        rows = [{"step": step, "step_seconds": 99.0 if step < 3 else took} for step in range(1, 6)]
        (exp / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bench_feature_cache.subprocess, "run", run)
    flags = ["--data", world["data"], "--speech_enc_id", world["whisper"], "--llm_id", world["llm"], "--cpu"]
    flags += ["--padding", "short", "--steps", 5, "--max_items", 3, "--out", tmp_path / "cache.json"]
    monkeypatch.setattr(sys, "argv", ["bench_feature_cache.py", *map(str, flags)])
    assert bench_feature_cache.main() == 0
    found = read_json(tmp_path / "cache.json")
    assert found["cache"]["items"] == 3 and found["cache"]["megabytes"] > 0
    assert found["steps"]["n_steps"] == 3 and found["steps"]["speedup"]["mean"] == pytest.approx(3)
    assert "--max_train" in commands[0] and "--no_feature_cache" in commands[1]
    with pytest.raises(UserError, match="expected more than the 2"):
        bench_feature_cache.parse_args([*map(str, flags), "--steps", "2"])
    failed = subprocess.CompletedProcess([], 1, "", "no such LLM")
    monkeypatch.setattr(bench_feature_cache.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="ended with 1: no such LLM"):
        bench_feature_cache.main()


def test_what_a_launcher_costs_is_taken_from_its_first_row(
    language_roots: dict[str, Path], monkeypatch, tmp_path: Path
) -> None:
    exp, script = language_roots["exp"] / "bench_launch_direct", tmp_path / "train.py"
    exp.mkdir()
    (exp / "metrics.jsonl").write_text("old\n")
    script.write_text(
        f"import time\ntime.sleep(0.2)\nopen({str(exp / 'metrics.jsonl')!r}, 'w').write('row')\ntime.sleep(0.2)\n"
    )
    times = bench_launch.measure([str(script)], exp, None)
    assert times.submit_seconds == 0 and 0.2 <= times.first_step_seconds
    states = itertools.chain(["running"], itertools.repeat(next(iter(END_STATES))))
    monkeypatch.setattr(bench_launch, "submit", lambda *_: (exp / "metrics.jsonl").write_text("row"))
    monkeypatch.setattr(bench_launch, "state_of", lambda _: next(states))
    monkeypatch.setattr(bench_launch, "find_records", lambda name: [name])
    assert bench_launch.measure(["x"], exp, "local").submit_seconds > 0
    monkeypatch.setattr(bench_launch, "submit", lambda *_: None)
    monkeypatch.setattr(bench_launch, "GIVE_UP_SECONDS", 0.05)
    with pytest.raises(UserError, match="no step after"):
        bench_launch.measure(["x"], exp, "local")


def test_every_engine_has_its_turn(language_roots: dict[str, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    measured = []

    def measure(command: list[str], exp: Path, backend: str | None) -> bench_launch.LaunchTimes:
        measured.append(backend)
        return bench_launch.LaunchTimes(0.5 if backend else 0.0, 3.0 if backend else 2.0)

    monkeypatch.setattr(bench_launch, "measure", measure)
    flags = ["--language", "spanish", "--repeats", "2", "--out", str(tmp_path / "launch.json")]
    monkeypatch.setattr(sys, "argv", ["bench_launch.py", *flags])
    bench_launch.main()
    assert measured == [None, None, "local", None, "local"]
    assert read_json(tmp_path / "launch.json")["local"]["overhead_seconds"] == 1.0
    refused = subprocess.CompletedProcess([], 2, "", "error: no such engine")
    monkeypatch.setattr(bench_launch.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(UserError, match="--backend sge: error: no such engine"):
        bench_launch.submit(["x"], "sge")


def test_word_errors_are_timed_on_sentences_with_known_rates(monkeypatch, capsys) -> None:
    import random

    references = bench_wer.make_references(400, random.Random(0))
    rows = bench_wer.make_predictions(references, random.Random(1))
    said, kept = (sum(len(row[key].split()) for row in rows) for key in ("reference", "hypothesis"))
    assert kept / said == pytest.approx(1 - bench_wer.OMITTED_SHARE, abs=0.01)
    commands = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        inputs = command[command.index("--input") + 1 :]
        scores = {path: {"n_words": 7} for path in inputs}
        Path(command[command.index("--json") + 1]).write_text(json.dumps(scores))

    monkeypatch.setattr(bench_wer.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["bench_wer.py", "--n_utterances", "5", "--n_experiments", "2"])
    bench_wer.main()
    assert capsys.readouterr().out.startswith("2 x 5 utterances, 14 words: ") and len(commands) == 1


def test_simulated_tests_hold_the_truth_and_doubt_who_clicks(monkeypatch, capsys) -> None:
    flags = ["--n_tests", "6", "--n_listeners", "6", "--n_utterances", "6", "--better", "1.5"]
    monkeypatch.setattr(simulate_listeners, "N_DRAWS", 2000)
    simulate_listeners.main(flags)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("the second voice +1.5 better") and lines[5].startswith("the second voice +0.0 better")
    finds = [float(line.split("finds a difference ")[1].split(",")[0]) for line in lines if "finds" in line]
    assert min(finds[:2]) > 0.8 > max(finds[2:])
    difference, share = simulate_listeners.true_values(3.0, 3.0, np.random.default_rng(0))
    assert abs(difference) < 0.1 and share == pytest.approx(0.5, abs=0.05)


CODE = """
def parse_flags(a: dict):
    return a


def long(row: dict, other: dict[str, int]) -> int:
    # a comment
    total = 0
    for key in other:
        if row["a"] and row["b"] or key:
            total += 1
    return total
"""


def test_code_is_counted(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "a.py").write_text(CODE)
    monkeypatch.setattr(sys, "argv", ["measure_code.py", str(tmp_path)])
    measure_code.main()
    shown = capsys.readouterr().out
    assert "lines of code                               8 in 1 files" in shown
    assert "string-key subscripts per 100 lines of code 25.0" in shown
    assert "bare dict parameters                        2 of 3" in shown
    ways = shown.split("most ways through\n")[1].splitlines()[0]
    assert ways.split()[0] == "5" and ways.endswith("long") and "parse_flags" not in shown
    page = tmp_path / "page.md"
    page.write_text("# Head\n\nOne two three. Four five\n\n```\ncode here\n```\n| a | b |\n")
    assert measure_code.words_a_sentence(page) == (5, 2.5)
    with pytest.raises(UserError, match="expected Python files"):
        measure_code.python_files([str(tmp_path / "none")])
