"""Jobs on this machine, real ones, submitted as a person does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import launch

from core.errors import UserError
from launching import local
from launching.attempts import exit_codes, read_attempts
from launching.job import Resources, find_records, log_file, make_job
from synthetic import REPOSITORY, run_bash, run_script

SAVES = """
import signal, sys, time, pathlib
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], "saved").touch(), sys.exit(99)))
pathlib.Path(sys.argv[1], "up").touch()
time.sleep(60)
"""

# Ends once two have begun, and a moment later: whatever the clock does, the first two run side by side.
TWO_AT_A_TIME = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[2])
(folder / f"{os.getpid()}.begun").touch()
while len(list(folder.glob("*.begun"))) < 2:
    time.sleep(0.05)
time.sleep(0.3)
print(sys.argv[1])
sys.exit(int(sys.argv[1]))
"""


def waits_for(path: Path, then: str) -> str:
    """A script that does ``then`` once there is such a file."""
    return f"import pathlib, time\nwhile not pathlib.Path({str(path)!r}).exists():\n    time.sleep(0.05)\n{then}\n"


@pytest.fixture
def exp(language_roots: dict[str, Path]) -> Path:
    return language_roots["exp"]


def write(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return str(folder / f"{name}.py")


def submit(*words: object, code: int = 0) -> str:
    done = run_script("scripts/launch.py", "submit", "--backend", "local", *words, code=code)
    return done.stderr if code else done.stdout


def wait_for_end(name: str) -> str:
    """The state in which the newest job of ``name`` ends."""
    record, give_up = find_records(name)[-1], time.monotonic() + 120
    while (state := launch.state_of(find_records(name)[-1])) not in ("finished", "failed", "cancelled"):
        assert time.monotonic() < give_up, f"{name} is {state}: {read_attempts(Path(record['folder']))}"
        time.sleep(0.1)
    return state


def wait_for_file(path: Path) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up, f"{path} never came"
        time.sleep(0.05)


def test_a_job_here_outlives_its_launcher_and_leaves_its_record(exp: Path, tmp_path: Path) -> None:
    script = write(tmp_path, "tell", "import sys, time\ntime.sleep(1)\nprint(sys.argv[1:])\n")
    printed = submit("--name", "tell", "--", script, "--my-flag", "two words")
    assert "tell/1" in printed and str(exp / "tell" / "jobs" / "001") in printed
    assert wait_for_end("tell") == "finished"
    record = find_records("tell")[-1]
    assert log_file(record).read_text() == "['--my-flag', 'two words']\n"
    started, ended = read_attempts(Path(record["folder"]))
    assert started["command"] == [sys.executable, script, "--my-flag", "two words"] and ended["exit_code"] == 0
    shown = run_script("scripts/launch.py", "status", "tell").stdout.splitlines()[1].split()
    assert shown[:5] == ["tell/1", "local", "finished", "0", "1"]
    assert "two words" in run_script("scripts/launch.py", "logs", "tell", "--follow").stdout


def test_a_machine_without_git_or_ps_runs_jobs(exp: Path, tmp_path: Path) -> None:
    script = write(tmp_path, "tell", waits_for(tmp_path / "go", "print('told')"))
    words = ["submit", "--backend", "local", "--name", "bare", "--", script]
    (tmp_path / "bin").mkdir()
    run_script("scripts/launch.py", *words, env={"PATH": str(tmp_path / "bin")})
    record = find_records("bare")[0]
    assert launch.state_of(record) in ("pending", "running") and record["git_commit"] is None
    (tmp_path / "go").touch()
    assert wait_for_end("bare") == "finished" and log_file(record).read_text() == "told\n"


def test_a_record_of_ps_is_understood(exp: Path) -> None:
    said = subprocess.run(["ps", "-o", "lstart=", "-p", str(os.getpid())], check=True, capture_output=True, text=True)
    record = {"ids": [str(os.getpid())], "started": " ".join(said.stdout.split())}
    assert local.living_process(record) == os.getpid()
    assert local.living_process(record | {"started": "Sat Nov 28 18:43:22 2020"}) is None


def test_a_failing_script_fails_the_job_and_what_comes_after_it(exp: Path, tmp_path: Path) -> None:
    submit("--name", "three", "--", write(tmp_path, "three", waits_for(tmp_path / "go", "raise SystemExit(3)")))
    submit("--name", "after", "--after", "three", "--", write(tmp_path, "never", "raise SystemExit(0)\n"))
    assert launch.state_of(find_records("after")[0]) == "pending"
    (tmp_path / "go").touch()
    assert (wait_for_end("three"), exit_codes(find_records("three")[0])) == ("failed", [3])
    assert wait_for_end("after") == "cancelled"
    assert not log_file(find_records("after")[0]).exists()
    said = submit("--name", "late", "--after", "three", "--", "src/train_bpe.py", code=2)
    assert "three/1 has failed" in said and len(said.splitlines()) == 1


def test_a_job_starts_when_those_before_have_finished(exp: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    slow = write(tmp_path, "slow", f"import time, pathlib\ntime.sleep(1.5)\npathlib.Path({str(mark)!r}).touch()\n")
    submit("--name", "slow", "--", slow)
    submit("--name", "quick", "--", write(tmp_path, "quick", "print()\n"))
    look = write(tmp_path, "look", f"import sys, pathlib\nsys.exit(not pathlib.Path({str(mark)!r}).exists())\n")
    submit("--name", "look", "--after", "slow", "quick/1", "--", look)
    assert wait_for_end("look") == "finished"


def test_cancel_lets_a_command_save(exp: Path, tmp_path: Path) -> None:
    submit("--name", "saves", "--", write(tmp_path, "saves", SAVES), tmp_path)
    wait_for_file(tmp_path / "up")
    assert launch.state_of(find_records("saves")[0]) == "running"
    said = submit("--name", "saves", "--", "src/train_bpe.py", code=2)
    assert "its job 1 is running" in said and len(said.splitlines()) == 1
    submit("--name", "saves", "--after", "saves", "--", "src/train_bpe.py")
    assert run_script("scripts/launch.py", "cancel", "saves/2").stdout == "cancelled saves/2\n"
    assert "cancelled saves/1" in run_script("scripts/launch.py", "cancel", "saves").stdout
    give_up = time.monotonic() + 60
    while launch.state_of(find_records("saves")[0]) == "running" and time.monotonic() < give_up:
        time.sleep(0.1)
    assert launch.state_of(find_records("saves")[0]) == "cancelled" and (tmp_path / "saved").exists()
    assert exit_codes(find_records("saves")[0]) == [99]
    assert "nothing to cancel" in run_script("scripts/launch.py", "cancel", "saves").stdout


def test_a_killed_background_process_takes_its_command_with_it(exp: Path, tmp_path: Path) -> None:
    submit("--name", "killed", "--", write(tmp_path, "saves", SAVES), tmp_path)
    wait_for_file(tmp_path / "up")
    record = find_records("killed")[0]
    attempt = subprocess.run(["pgrep", "-P", record["ids"][0]], check=True, capture_output=True, text=True).stdout
    os.kill(int(record["ids"][0]), signal.SIGKILL)
    os.kill(int(attempt), signal.SIGKILL)
    wait_for_file(tmp_path / "saved")
    assert wait_for_end("killed") == "failed"


def test_the_limit_of_hours_stops_a_command(exp: Path, tmp_path: Path) -> None:
    submit("--name", "limited", "--hours", 4 / 3600, "--", write(tmp_path, "saves", SAVES), tmp_path)
    assert wait_for_end("limited") == "failed"
    assert exit_codes(find_records("limited")[0]) == [99] and (tmp_path / "saved").exists()


def test_an_array_runs_so_many_tasks_at_a_time(exp: Path, tmp_path: Path) -> None:
    script = write(tmp_path, "task", TWO_AT_A_TIME)
    job = make_job("array", [[script, code, str(tmp_path)] for code in "0301"], backend="local", array_parallelism=2)
    record = launch.submit_job(job)
    assert wait_for_end("array") == "failed"
    assert exit_codes(record) == [0, 3, 0, 1]
    assert [log_file(record, task).read_text().strip() for task in range(4)] == list("0301")
    running = most = 0
    for row in read_attempts(Path(record["folder"])):
        running += 1 if row["event"] == "started" else -1
        most = max(most, running)
    assert most == 2
    assert "0×2 1×1 3×1" in run_script("scripts/launch.py", "status").stdout


def test_a_phase_with_a_backend_is_submitted_and_runs(tiny_units: dict) -> None:
    script = REPOSITORY / "scripts" / "run_phase2.sh"
    done = run_bash(script, "spanish", "--vocab_size", "40", BACKEND="local", CPUS="1")
    assert done.returncode == 0, done.stderr
    assert "submitted spanish_bpe/1 to local" in done.stdout
    assert wait_for_end("spanish_bpe") == "finished"
    bpe = tiny_units["exp"] / "spanish_bpe"
    assert "next: bash scripts/run_phase3.sh spanish" in log_file(find_records("spanish_bpe")[0]).read_text()
    assert json.loads((bpe / "config.json").read_text())["arguments"]["vocab_size"] == 40
    assert run_bash(script, "spanish", "--help", BACKEND="local").stdout.startswith("usage: train_bpe.py")


def test_what_one_machine_cannot_obey_is_refused(exp: Path) -> None:
    job = make_job("x", [["src/train_bpe.py"]], backend="local", resources=Resources(memory_gb=4.0, nodes=2))
    with pytest.raises(UserError, match="--memory, --nodes: this machine has no scheduler"):
        local.describe(job)
