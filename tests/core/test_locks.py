"""One run at a time, on this machine or another; what a killed run leaves is taken over; messages name the holder."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import locks
from core.errors import UserError
from core.locks import lock_of, note_of, only_one, only_run, say_age
from synthetic import REPOSITORY, script_environment

HOLD = """
import sys
from pathlib import Path
from core.locks import only_one
with only_one(Path(sys.argv[1]), patience=0, busy="busy"):
    print("held", flush=True)
    sys.stdin.read()
"""
# What filelock writes for a holder; fields beyond the first four are optional.
MARKER = "filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken=0123abcd\nduration={duration}\n"


def hold(lock: Path, **variables: str) -> subprocess.Popen:
    environment = script_environment(variables) | {"PYTHONPATH": str(REPOSITORY / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], env=environment, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life and their end within parts of a second."""
    for name, seconds in (("BEAT_SECONDS", 0.1), ("LEASE_SECONDS", 0.5), ("POLL_SECONDS", 0.02), ("TORN_SECONDS", 0.2)):
        monkeypatch.setattr(locks, name, seconds)


def leave(lock: Path, *, host: str = "elsewhere", pid: int = 7) -> None:
    """A lock as a process of another machine left it."""
    lock.write_text(MARKER.format(pid=pid, host=host, duration=locks.LEASE_SECONDS))
    note = {"user": "ana", "host": host, "pid": pid, "since": time.time() - 7500, "command": "train.py --steps 9"}
    note_of(lock).write_text(str(note).replace("'", '"'))


def test_the_second_is_told_who_is_at_work_and_a_killed_one_is_taken_over(tmp_path: Path, capfd) -> None:
    lock = tmp_path / ".x.running"
    first = hold(lock)
    with pytest.raises(UserError) as refused, only_one(lock, patience=0.3, busy="wait for it"):
        raise AssertionError("two at once")
    host, said = socket.gethostname(), str(refused.value)
    assert said.startswith(f"wait for it: process {first.pid} of ") and f" on {host} (-c " in said
    assert " s, last sign of life " in said and said.endswith(f"rm {lock}") and "\n" not in said
    first.kill()
    first.wait()
    with only_one(lock, patience=5, busy="a killed process keeps its lock"):
        assert f"taken over from process {first.pid} of " in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_holder_was_writing_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "test").mkdir(parents=True)
    first = hold(lock_of(folder))
    torn, others = folder / "test" / f".a.wav.{first.pid}.0123abcd.tmp", folder / ".b.json.4242424.0123abcd.tmp"
    for path in (torn, others, folder / "a.tmp"):
        path.touch()
    first.kill()
    first.wait()
    with only_run(folder, patience=5):
        assert not torn.exists() and others.exists() and (folder / "a.tmp").exists()


KILLED_WHILE_CLEARING = """
import os, signal, sys
from pathlib import Path
from core import locks
locks._remove_torn = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with locks.only_run(Path(sys.argv[1]), patience=5):
    pass
"""


def test_what_a_killed_holder_was_writing_goes_though_the_next_one_was_killed_before_it_cleared_up(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    first = hold(lock_of(folder))
    torn = folder / f".a.wav.{first.pid}.0123abcd.tmp"
    torn.touch()
    first.kill()
    first.wait()
    environment = script_environment({}) | {"PYTHONPATH": str(REPOSITORY / "src")}
    second = subprocess.run([sys.executable, "-c", KILLED_WHILE_CLEARING, str(folder)], env=environment, check=False)
    assert second.returncode == -signal.SIGKILL and torn.exists()
    with only_run(folder, patience=5):
        assert not torn.exists()


def test_it_holds_where_the_file_system_knows_no_flock(tmp_path: Path, without_locks: dict[str, str]) -> None:
    first = hold(tmp_path / ".x.running", **without_locks)
    with pytest.raises(UserError, match="busy"), only_one(tmp_path / ".x.running", patience=0.2, busy="busy"):
        raise AssertionError("two at once")
    assert first.communicate("")[1] == "" and first.returncode == 0 and list(tmp_path.iterdir()) == []


def test_a_holder_on_another_machine_that_gives_signs_of_life_is_believed(tmp_path: Path, hasty, capfd) -> None:
    lock = tmp_path / ".x.running"
    leave(lock)
    beats = iter(range(1, 10**6))
    real, moved = locks._changed, lambda path: (1, next(beats))
    locks._changed = moved
    try:
        with pytest.raises(UserError, match="7 of ana on elsewhere .train.py --steps 9., for 2 h 5 min"):
            with only_one(lock, patience=0.05, busy="x"):
                raise AssertionError("two at once")
    finally:
        locks._changed = real
    assert "waiting for a sign of life" in capfd.readouterr().err and lock.exists()


def test_a_holder_on_another_machine_without_sign_of_life_is_taken_over(tmp_path: Path, hasty, capfd) -> None:
    lock = tmp_path / ".x.running"
    leave(lock)
    with only_one(lock, patience=0.05, busy="x"):
        said = capfd.readouterr().err
    assert "waiting for a sign of life" in said and "taken over from process 7 of ana on elsewhere" in said


def test_a_process_number_that_another_process_has_now_is_no_holder(tmp_path: Path, hasty) -> None:
    lock = tmp_path / ".x.running"
    lock.write_text(
        MARKER.format(pid=os.getppid(), host=socket.gethostname(), duration=locks.LEASE_SECONDS) + "start=1\n"
    )
    with only_one(lock, patience=0.2, busy="the number alone is believed"):
        pass


def test_a_lock_that_a_kill_or_a_full_disk_left_empty_goes_at_once(tmp_path: Path, hasty) -> None:
    lock = tmp_path / ".x.running"
    for age in (0, 10**6, -(10**6)):  # a server's clock may be ahead
        lock.touch()
        os.utime(lock, (time.time() - age,) * 2)
        began = time.monotonic()
        with only_one(lock, patience=0.05, busy="x"):
            assert 0.2 <= time.monotonic() - began < 60 and lock.stat().st_size
        assert not lock.exists()


def test_a_lock_that_is_being_written_is_waited_for(tmp_path: Path, hasty, monkeypatch) -> None:
    monkeypatch.setattr(locks, "TORN_SECONDS", 60)  # on a busy machine the writer's turn comes late
    lock = tmp_path / ".x.running"
    lock.touch()
    text = MARKER.format(pid=os.getppid(), host=socket.gethostname(), duration=locks.LEASE_SECONDS)
    writing = threading.Timer(0.1, lock.write_text, [text])
    writing.start()
    with pytest.raises(UserError, match="x: "), only_one(lock, patience=0.05, busy="x"):
        raise AssertionError("two at once")
    writing.join()
    assert lock.read_text() == text


def test_a_disk_that_fails_while_the_lock_is_written_leaves_none(tmp_path: Path, monkeypatch) -> None:
    lock = tmp_path / ".x.running"

    def write_half(lease: object, **_: object) -> None:
        lock.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(lock))

    with monkeypatch.context() as patch:
        patch.setattr(locks.SoftFileLease, "acquire", write_half)
        with pytest.raises(OSError, match="No space left"), only_one(lock, patience=0.05, busy="x"):
            raise AssertionError("without a lock")
    assert not lock.exists()
    with only_one(lock, patience=0.05, busy="x"):
        pass


def test_a_run_whose_lock_was_taken_ends_and_one_whose_disk_hangs_goes_on(tmp_path: Path, hasty, monkeypatch) -> None:
    ended = []
    monkeypatch.setattr(locks.os, "_exit", ended.append)
    locks._end_or_warn(tmp_path / "x", SimpleNamespace(reason="refresh-failed", error="EIO"))
    assert ended == []
    with only_one(tmp_path / ".x.running", patience=1, busy="x"):
        (tmp_path / ".x.running").unlink()
        give_up = time.monotonic() + 20
        while not ended and time.monotonic() < give_up:
            time.sleep(0.02)
    assert ended == [2]


def test_a_folder_is_held_from_outside_by_the_first_process_alone(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "spanish_units"
    with only_run(folder):
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".running"] == [".spanish_units.running"]
        assert not folder.exists() and note_of(lock_of(folder)).exists()
        with only_run(folder, part="assign.3"):
            assert lock_of(folder, "assign.3").exists()
        with pytest.raises(UserError, match="another run is at work here"), only_run(folder, patience=0.05):
            raise AssertionError("two at once")
        monkeypatch.setenv("RANK", "1")
        with only_run(folder, patience=0):
            pass
    assert list(tmp_path.iterdir()) == []


def test_ages_are_in_words() -> None:
    found = [say_age(seconds) for seconds in (-5, 59.4, 61, 3599, 12_000, 200_000)]
    assert found == ["0 s", "59 s", "1 min", "59 min", "3 h 20 min", "2 days"]


def test_a_refused_run_leaves_no_folder_of_a_mistyped_name(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "typo" / "synthesis", tmp_path / "there" / "new", tmp_path / "there"):
        with pytest.raises(UserError), only_run(folder):
            folder.mkdir(parents=True, exist_ok=True)
            raise UserError("no such experiment")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"], "what was there before stays"
    with pytest.raises(UserError), only_run(tmp_path / "typo"):
        (tmp_path / "typo").mkdir()
        (tmp_path / "typo" / "half.txt").touch()
        raise UserError("half of it was done")
    assert (tmp_path / "typo" / "half.txt").exists()
