"""One real engine a test run, started on first use; where it cannot be, its tests are skipped with the reason."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import PACKAGES, START_SECONDS, turned_off, wait_until, why_not
from grid_engine import why_no_grid_engine


@pytest.fixture(scope="session")
def slurm_engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that Slurm's clients need."""
    return engine(request, "slurm", lambda: why_not(PACKAGES))


@pytest.fixture(scope="session")
def grid_engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that Grid Engine's clients need."""
    return engine(request, "sge", why_no_grid_engine)


def engine(request: pytest.FixtureRequest, name: str, why_not_here: Callable[[], str | None]) -> dict[str, str]:
    """The first of the processes of a run that wants an engine starts it, for all of them (keeper.py)."""
    if reason := turned_off():
        pytest.skip(f"{name}: {reason}")
    folder, tests = run_of(request)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if reason := why_not_here():
            pytest.skip(f"{name}: {reason}")
        said = folder / f"{name}.json"
        if not said.exists():
            start(name, said, tests)
    return json.loads(said.read_text())


def run_of(request: pytest.FixtureRequest) -> tuple[Path, int]:
    """What the processes of a run have in common: a folder, and the number of the first, which outlives the others."""
    folder = request.getfixturevalue("tmp_path_factory").getbasetemp()
    is_worker = hasattr(request.config, "workerinput")  # of pytest-xdist
    return (folder.parent, os.getppid()) if is_worker else (folder, os.getpid())


def start(name: str, said: Path, tests: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("keeper.py")), name, str(said), str(tests)]
    screen = said.with_suffix(".log")
    with open(screen, "wb") as log:
        keeper = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    wait_until(lambda: said.exists() or keeper.poll() is not None, f"{name}, see {screen}", 5 * START_SECONDS)
    assert said.exists(), screen.read_text()
