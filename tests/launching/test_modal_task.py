"""A task on Modal without Modal: signals, limits, commits, with fake and real children."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

import pytest

from equal_runs import folder_differences
from launching.modal_child import Outcome, find_message, run_job
from launching.modal_task import child_command, conclude, describe_end, judge
from synthetic import REPOSITORY, script_environment, sharing, write_segments, write_units
from trainer_runs import run_to_end

TIMEOUT = 240
# Says "ready" in a file, saves on SIGTERM after a moment, and ends with the code asked for.
CHILD = """
import os, signal, sys, time
folder, code, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def save(number, _):
    time.sleep(0.3)
    open(folder + "/saved", "w").write(str(number))
    sys.exit(code)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, lambda *_: open(folder + "/sigint", "w").close())
open(folder + "/ready", "w").close()
time.sleep(seconds)
sys.exit(code)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    give_up = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < give_up and (process is None or process.poll() is None)
        time.sleep(0.01)


def child(folder: Path, code: int = 0, seconds: float = 0.0) -> list[str]:
    return [sys.executable, "-c", CHILD, str(folder), str(code), str(seconds)]


def signal_when_ready(folder: Path, number: int) -> threading.Thread:
    def send() -> None:
        wait_until((folder / "ready").exists)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_code_comes_back_after_a_commit(tmp_path: Path, code: int) -> None:
    commits = []
    result = run_job(child(tmp_path, code), limit_seconds=60, commit=lambda: commits.append(1))
    assert result == Outcome(code, None) and commits == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_sigterm_and_the_commit_waits_for_the_save(tmp_path: Path, number: int) -> None:
    before, saved = signal.getsignal(signal.SIGINT), []
    thread = signal_when_ready(tmp_path, number)
    result = run_job(
        child(tmp_path, 99, 60), limit_seconds=60, commit=lambda: saved.append((tmp_path / "saved").exists())
    )
    thread.join()
    assert result == Outcome(99, signal.Signals(number).name)
    assert saved == [True] and (tmp_path / "saved").read_text() == str(int(signal.SIGTERM))
    assert not (tmp_path / "sigint").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_own_limit_stops_as_a_signal_does(tmp_path: Path) -> None:
    saved = []
    result = run_job(
        child(tmp_path, 99, 60), limit_seconds=3, commit=lambda: saved.append((tmp_path / "saved").exists())
    )
    assert result == Outcome(99, "limit") and saved == [True]


def test_a_child_that_does_not_stop_is_killed_with_all_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {marker}; exec {sys.executable} -c {json.dumps(STUBBORN)}"
    result = run_job(["bash", "-c", script], limit_seconds=2, commit=lambda: None, stop_seconds=0.5)
    assert result == Outcome(-signal.SIGKILL, "limit")
    pid = int(marker.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1])


def test_commits_go_on_while_the_child_runs_and_one_that_fails_does_not_end_it(tmp_path: Path, capsys) -> None:
    commits = []

    def commit() -> None:
        commits.append(1)
        if len(commits) == 1:
            raise ConnectionError("no network")

    assert run_job(child(tmp_path, 0, 2), limit_seconds=60, commit=commit, commit_seconds=0.3).code == 0
    assert len(commits) >= 3 and "no network" in capsys.readouterr().err


def test_a_cancelled_call_leaves_no_child_behind(tmp_path: Path) -> None:
    """Modal raises out of a signal handler where a call is cancelled."""
    before = signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError("cancelled")))
    commits = []
    try:
        thread = signal_when_ready(tmp_path, signal.SIGUSR1)
        with pytest.raises(InterruptedError):
            run_job(child(tmp_path, 99, 60), limit_seconds=60, commit=lambda: commits.append(1))
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (tmp_path / "saved").exists() and commits == [1]


@pytest.mark.parametrize(
    ("ended", "gained", "verdict"),
    [
        (Outcome(0, None), False, "return"),
        (Outcome(0, "SIGINT"), True, "return"),
        (Outcome(99, "SIGINT"), False, "preempted"),
        (Outcome(99, "limit"), True, "again"),
        (Outcome(99, "limit"), False, "again"),  # the code says that it has saved
        (Outcome(1, "limit"), True, "again"),  # as torchrun ends
        (Outcome(1, "limit"), False, "return"),
        (Outcome(2, None), True, "return"),
        (Outcome(3, None), True, "return"),
        (Outcome(1, None), True, "again"),
        (Outcome(1, None), False, "return"),
        (Outcome(99, "lost"), True, "return"),
    ],
)
def test_what_follows_an_ending(ended: Outcome, gained: bool, verdict: str) -> None:
    assert judge(ended, gained=gained) == verdict
    said = describe_end(ended, ["src/x.py"], 3600.0, gained=gained)
    if verdict == "return":
        code = 2 if ended.stopped == "lost" else ended.code
        assert conclude(ended, verdict, said, []) == {"exit_code": code, "message": said, "rows": []}
        return
    with pytest.raises(KeyboardInterrupt if verdict == "preempted" else RuntimeError, match="src/x.py") as raised:
        conclude(ended, verdict, said, [])
    assert verdict == "preempted" or raised.value.exit_code == ended.code


def test_the_message_is_the_line_that_begins_as_an_error() -> None:
    progress = "10 %|#  |\r 90 %|## |\r100 %|###|"
    assert find_message(f"{progress}\nerror: no voice\n[rank 0] torchrun says a lot\n\n") == "error: no voice"
    assert find_message(f"Traceback:\n{progress}\nKeyError: 'units'\n") == "KeyError: 'units'"
    assert find_message("x.py: error: no flag\n") == "x.py: error: no flag" and find_message("") == ""


def test_another_call_that_took_the_folder_over_stops_this_one(tmp_path: Path) -> None:
    commits = []
    result = run_job(
        child(tmp_path, 99, 60), limit_seconds=60, commit=lambda: bool(commits.append(1)), commit_seconds=0.3
    )
    assert result == Outcome(99, "lost") and commits == [1]


@pytest.mark.parametrize(
    ("flags", "attempt", "expected"),
    [
        ([], 0, ["--resume", "auto"]),
        (["--resume"], 0, ["--resume", "auto"]),
        (["--resume", "--lr", "1"], 0, ["--lr", "1", "--resume", "auto"]),
        (["--overwrite"], 0, ["--overwrite"]),
        (["--resume", "best.pt"], 0, ["--resume", "best.pt"]),
        (["--overwrite"], 1, ["--resume", "auto"]),
        (["--resume", "best.pt"], 2, ["--resume", "auto"]),
    ],
)
def test_every_attempt_can_start_or_go_on(flags: list[str], attempt: int, expected: list[str]) -> None:
    words = child_command(["src/trainer_vocoder.py", *flags], 1, attempt)
    assert words == [sys.executable, str(REPOSITORY / "src/trainer_vocoder.py"), *expected]


def test_several_processes_and_shell_scripts() -> None:
    command = child_command(["src/trainer_vocoder.py"], 2, 0)
    assert command[1:3] == ["-m", "torch.distributed.run"] and "--nproc_per_node=2" in command
    shell = child_command(["scripts/run_phase3.sh", "--language", "satere"], 2, 0)
    assert shell[:2] == ["bash", str(REPOSITORY / "scripts/run_phase3.sh")]
    assert child_command(["scripts/estimate_needs.py", "--language", "satere"], 1, 0)[-1] == "satere"


def start_container(folder: Path, words: list[str], roots: Path) -> subprocess.Popen:
    spec = {"words": words, "processes": 1, "folder": "run", "limit_seconds": 900, "environment": {}, "owner": "fc-1"}
    spec["retries"] = 0
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = sharing({"DATA_ROOT": str(roots / "data"), "EXP_ROOT": str(folder / "live"), "TAG": ""})
    python, script = environment["PYTHON_EXEC"], REPOSITORY / "tests" / "modal_container.py"
    command = [python, str(script), str(folder / "spec.json"), str(folder)]
    with open(folder / "screen.txt", "a") as screen:
        return subprocess.Popen(command, env=script_environment(environment), stdout=screen, stderr=screen)


def test_a_real_training_interrupted_at_random_is_committed_and_ends_the_same(tmp_path: Path) -> None:
    """SIGINT to the container; the next one knows only what was committed; bit for bit the uninterrupted run."""
    rows = write_segments(tmp_path / "data", "spanish")
    units = write_units(tmp_path / "exp", rows, n_units=12)
    flags = "--language spanish --channels 16 --batch_size 2 --crop_frames 8 --steps 300 --warmup 3 --num_samples 0"
    often = "--save_every 1000 --log_every 1 --eval_every 30 --adversarial_after 20 --discriminator_width 4"
    words = [*flags.split(), *often.split(), "--discriminator_frames", "4"]
    run_to_end("trainer_vocoder", words, roots=tmp_path)

    folder, run = tmp_path / "preempted", "spanish_vocoder_v4"
    shutil.copytree(units, folder / "committed" / units.name)
    process = start_container(folder, ["src/trainer_vocoder.py", *words], tmp_path)
    step, pause = random.SystemRandom().randint(1, 36), random.SystemRandom().uniform(0, 0.2)
    print(f"interrupted {pause:.3f} s after step {step}")
    wait_until(lambda: last_step(folder / "live" / run / "metrics.jsonl") >= step, process)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) != 0 and "preempted" in (folder / "screen.txt").read_text()
    assert (folder / "commits.txt").read_text() == "commit\n"
    saved = torch.load(folder / "committed" / run / "checkpoints" / "latest.pt", weights_only=True)
    assert step <= saved["step"] < 300

    code = start_container(folder, ["src/trainer_vocoder.py", *words], tmp_path).wait(TIMEOUT)
    assert code == 0 and "attempt 2 of fc-1" in (folder / "screen.txt").read_text()
    n_files, different = folder_differences(folder / "committed" / run, tmp_path / "exp" / run)
    assert n_files > 4 and different == []


def last_step(path: Path) -> int:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)
