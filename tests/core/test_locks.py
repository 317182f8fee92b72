"""One run at a time; where a file system has no locks, a run all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from core.locks import only_one
from synthetic import REPOSITORY, script_environment

HOLD = """
import sys
from pathlib import Path
from core.locks import only_one
with only_one(Path(sys.argv[1]), patience=0, busy="busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(lock: Path, **variables: str) -> subprocess.Popen:
    environment = script_environment(variables) | {"PYTHONPATH": str(REPOSITORY / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], env=environment, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_waits_and_says_that_the_first_is_at_work(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock")
    with pytest.raises(UserError, match="wait for it"), only_one(tmp_path / "lock", patience=0.3, busy="wait for it"):
        raise AssertionError("two at once")
    first.kill()
    first.wait()
    with only_one(tmp_path / "lock", patience=5, busy="a killed process keeps its lock"):
        pass


def test_without_locks_it_goes_on_and_says_so_once(tmp_path: Path, without_locks: dict[str, str]) -> None:
    said = hold(tmp_path / "lock", **without_locks).communicate("")[1]
    assert said.count("has no locks") == 1 and len(said.splitlines()) == 1
