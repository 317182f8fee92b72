"""A pool whose work is broken off leaves no worker, and nothing half written."""

import os
import signal
import time
from pathlib import Path

import pytest

import core.process_pool
from core.files import write_atomically
from core.process_pool import run_in_processes


def wait_for(path: Path) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up, f"{path.name} never came"
        time.sleep(0.01)


def write_slowly(temporary: Path) -> None:
    temporary.write_text("half of it")
    (temporary.parent / "writing").touch()
    time.sleep(60)


def write_or_fail(job: tuple[Path, str]) -> None:
    folder, task = job
    if task == "write":
        (folder / "worker").write_text(str(os.getpid()))
        write_atomically(folder / "file", write_slowly)
    if task == "write, deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "worker").write_text(str(os.getpid()))
        write_slowly(folder / "unfinished")
    wait_for(folder / "writing")
    raise OSError("the disk is full")


@pytest.mark.parametrize("task", ["write", "write, deaf"])
def test_an_error_ends_the_other_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(core.process_pool, "ENDING_SECONDS", 5.0 if task == "write" else 0.2)
    with pytest.raises(OSError, match="the disk is full"):
        list(run_in_processes(write_or_fail, [(tmp_path, task), (tmp_path, "fail")], n_workers=2))
    if task == "write":
        assert {path.name for path in tmp_path.iterdir()} == {"worker", "writing"}
    process = Path("/proc") / (tmp_path / "worker").read_text()
    give_up = time.monotonic() + 60
    while process.exists() and "\nState:\tZ" not in (process / "status").read_text():
        assert time.monotonic() < give_up, "a worker lives on"
        time.sleep(0.05)
