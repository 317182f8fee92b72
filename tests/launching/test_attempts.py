"""Attempts at a task: resumed the second time, and recorded by one row after the other."""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launching.attempts import read_attempts
from launching.job import create_folder, log_file, make_job, write_job
from synthetic import script_environment


def test_a_second_attempt_resumes_and_overwrites_nothing(language_roots: dict[str, Path], tmp_path: Path) -> None:
    script = tmp_path / "trainer.py"
    known = 'argparse.ArgumentParser().add_argument("--resume")'
    script.write_text(f"import argparse, sys\n{known}\nprint(sys.argv[1:])\nsys.exit(99)\n")
    job = create_folder(make_job("again", [[script, "--overwrite", "--steps", "5"]], backend="local"))
    write_job(job)
    for _ in range(2):
        command = [sys.executable, "-m", "launching.attempts", job["folder"]]
        assert subprocess.run(command, check=False, env=script_environment()).returncode == 99
    lines = log_file(job).read_text().splitlines()
    assert lines == ["['--overwrite', '--steps', '5']", "['--steps', '5', '--resume', 'auto']"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/locks tells who waits for a lock")
def test_a_row_waits_for_the_row_of_another_process(tmp_path: Path) -> None:
    """On NFS, what two machines append at once is lost otherwise."""
    path = tmp_path / "attempts.jsonl"
    path.touch()
    with open(path, "ab") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        append = f"from launching.attempts import append_row; append_row({str(tmp_path)!r}, {{'task': 0}})"
        process = subprocess.Popen([sys.executable, "-c", append], env=script_environment())
        while f"-> POSIX  ADVISORY  WRITE {process.pid}" not in Path("/proc/locks").read_text():
            assert process.poll() is None, "it did not wait"
            time.sleep(0.05)
        assert path.read_bytes() == b""
    assert process.wait() == 0 and read_attempts(tmp_path) == [{"task": 0}]
