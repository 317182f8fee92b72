"""Ctrl-C: one line and code 130, at any moment; what ignores it goes on doing so; a training saves first."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.interrupts import end_at_once, raise_interrupts
from synthetic import REPOSITORY, script_environment

DIRECT_RUN = sorted(
    path
    for folder in ("src", "scripts", "scripts/bench", "recipes/*")
    for path in REPOSITORY.glob(f"{folder}/*.py")
    if re.search(r"^    run_main\(main", path.read_text(encoding="utf-8"), re.MULTILINE)
)
# What a shell starts in the background ignores interrupts, and so would all that it starts.
HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
# It stands for everything that takes long to import.
SLOW_IMPORT = """
import pathlib, sys, time
pathlib.Path({started!r}).touch()
time.sleep(60)
"""


def interrupt(command: list[object], started: Path, *, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Start ``command``, wait for ``started``, press Ctrl-C; the exit code and what was said."""
    screens = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    words = [sys.executable, "-c", HEARING, *map(str, command)]
    running = subprocess.Popen(words, env=script_environment(env), process_group=0, **screens)
    try:
        give_up = time.monotonic() + 120
        while not started.exists():
            assert time.monotonic() < give_up and running.poll() is None, running.stderr.read()
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    return running.returncode, said


def test_every_direct_run_script_is_quiet_from_its_first_import_on() -> None:
    assert len(DIRECT_RUN) > 60
    for script in DIRECT_RUN:
        text = script.read_text(encoding="utf-8")
        text = text.split("sys.path.insert(", 1)[-1] if not script.is_relative_to(REPOSITORY / "src") else text
        first = re.search(r"^(?:import|from) (\S+)", text, re.MULTILINE)
        assert first and first.group(1) == "core.quiet_start", script


@pytest.mark.parametrize("script", ["src/synthesize.py", "scripts/segment_audio.py", "recipes/russian/build_corpus.py"])
def test_ctrl_c_while_a_script_imports_is_one_line(script: str, tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "numpy.py").write_text(SLOW_IMPORT.format(started=str(tmp_path / "started")))
    path = f"{tmp_path / 'slow'}{os.pathsep}{REPOSITORY / 'src'}"
    command = [sys.executable, REPOSITORY / script, "--help"]
    code, said = interrupt(command, tmp_path / "started", env={"PYTHONPATH": path})
    assert (code, said) == (-signal.SIGINT, "interrupted\n")  # a shell calls it 130


MAIN = """
import pathlib, time
from core.cli import run_main
def main():
    try:
        pathlib.Path({started!r}).touch()
        time.sleep(60)
    finally:
        pathlib.Path({closed!r}).touch()
run_main(main)
"""


@pytest.mark.parametrize("in_a_step", [False, True])
def test_ctrl_c_in_main_closes_what_is_open_and_is_one_line(tmp_path: Path, in_a_step: bool) -> None:
    script = tmp_path / "slow.py"
    started, closed = tmp_path / "started", tmp_path / "closed"
    script.write_text(MAIN.format(started=str(started), closed=str(closed)))
    env = {"ORAL_UNITS_STEP": "1"} if in_a_step else {}
    code, said = interrupt([sys.executable, script], started, env=env)
    assert (code, said) == (-signal.SIGINT, "" if in_a_step else "interrupted\n") and closed.exists()


def test_what_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        raise_interrupts()
        end_at_once()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_program_keeps_its_own_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    end_at_once()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_a_shell_script_is_one_line_also_between_its_steps(tmp_path: Path) -> None:
    started = tmp_path / "started"
    functions = f"set -euo pipefail; source '{REPOSITORY}/scripts/shell_functions.sh'; "
    inner, outer = tmp_path / "inner.sh", tmp_path / "outer.sh"
    waits = f"{sys.executable} -c 'import pathlib, time; pathlib.Path(\"{started}\").touch(); time.sleep(60)'"
    inner.write_text(functions + f'found="$({waits} 2> /dev/null)" || exit 2\n')
    outer.write_text(functions + f"run_step bash '{inner}'\necho went on >&2\n")
    for script in (inner, outer):
        started.unlink(missing_ok=True)
        code, said = interrupt(["/bin/bash", script], started)
        assert (code, said) == (130, "interrupted; the same command goes on from here\n"), script


def test_a_python_without_the_packages_is_told_in_one_line(tmp_path: Path) -> None:
    """``-S`` leaves the installed packages out, as the system's own Python does."""
    script = REPOSITORY / "scripts" / "inspect_recordings.py"
    done = subprocess.run([sys.executable, "-S", script, tmp_path], check=False, capture_output=True, text=True)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 2 and said.endswith("found one without torch; run: source path.sh")
