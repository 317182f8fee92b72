"""One attempt at one task of a job: the same on every engine.

``python -m launching.attempts FOLDER [TASK]`` is what engines run. It starts the command of the task with its output
in the job's log, hands the engine's signals on to it as SIGTERM, and ends with the command's exit code. Every attempt
leaves two rows in ``attempts.jsonl`` (core.records.AttemptRow). A first attempt runs the command as it was typed,
later ones resume (launching/commands.py).
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from core.records import AttemptRow, Job
from launching.commands import task_command, task_environment
from launching.job import log_file, now, read_job

EXIT_CANNOT_START = 126
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


class TaskProgress(NamedTuple):
    """How far a task has come, by its last row in ``attempts.jsonl``."""

    event: str | None = None  # "started", "ended", "skipped"; None: no attempt yet
    exit_code: int | None = None
    stopped: bool = False


def run_attempt(folder: Path, task: int = 0) -> int:
    """Run the task once, to its end; returns its exit code (128 + number where a signal ended it)."""
    children, signals = [], []

    def hand_on(number: int, _: object) -> None:
        signals.append(number)
        for child in children:
            os.kill(child.pid, signal.SIGTERM)

    for number in STOP_SIGNALS:
        signal.signal(number, hand_on)
    children.append(start_attempt(folder, task))
    if signals:
        children[0].terminate()
    code = wait_for(children[0])
    end_attempt(folder, task, code, stopped=bool(signals))
    return code


def start_attempt(
    folder: Path, task: int = 0, *, attempt: int | None = None, node: int = 0, own_group: bool = True
) -> subprocess.Popen:
    """Start the command and record it.

    It ignores SIGUSR1 and SIGUSR2, unless it asks for them: engines send those to all processes of a job, and their
    default is death. ``own_group`` also keeps it from signals to the group of this process. Where this process is
    killed, the command gets SIGTERM: two writers in one experiment folder would be worse.

    ``attempt`` is the engine's own count, where it has one that is the same on all nodes; ``node`` 0 keeps the records.
    """
    job = read_job(folder)
    attempt = attempt or 1 + count_attempts(folder, task)
    words = task_command(job, task, resume=attempt > 1)
    row = {"task": task, "attempt": attempt, "event": "started", "at": now(), "host": socket.gethostname()}
    if node == 0:
        append_row(folder, row | {"command": words, "engine_id": engine_id()})
    environment = os.environ | task_environment(job, os.environ)
    with open(log_file(job, task, node), "ab") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0 if own_group else None,
            preexec_fn=_before_command,  # noqa: PLW1509
        )


def _before_command() -> None:
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def engine_id() -> str | None:
    """The engine's number of the job that this process runs in."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("JOB_ID")


def wait_for(child: subprocess.Popen) -> int:
    """The exit code once the command has ended. Unlike Popen.wait, it may be called from a signal handler as well."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def has_ended(child: subprocess.Popen) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end_attempt(folder: Path, task: int, code: int, *, stopped: bool) -> None:
    """Record the end; ``stopped``: a signal of the engine came before it."""
    append_row(folder, {"task": task, "event": "ended", "at": now(), "exit_code": code, "stopped": stopped})


def skip_task(folder: Path, task: int, reason: str) -> None:
    """Record that a task was never started, and will not be."""
    append_row(folder, {"task": task, "event": "skipped", "at": now(), "reason": reason})


def append_row(folder: Path | str, row: AttemptRow) -> None:
    """One short write in append mode, under a lock, so that the tasks of an array may share the file.

    Without the lock, two machines that append to a file on NFS write over each other (open(2), O_APPEND).
    """
    with open(Path(folder) / "attempts.jsonl", "ab", buffering=0) as out:
        with contextlib.suppress(OSError):  # a file system that knows no locks
            fcntl.lockf(out, fcntl.LOCK_EX)
        out.write((json.dumps(row) + "\n").encode())


def read_attempts(folder: Path | str, task: int | None = None) -> list[AttemptRow]:
    """The rows of ``attempts.jsonl``, of one task where it is given; a half-written last row is left out."""
    path = Path(folder) / "attempts.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in rows if task is None or row["task"] == task]


def count_attempts(folder: Path | str, task: int | None = None) -> int:
    """How often a task was started; without ``task``, all tasks together."""
    return sum(row["event"] == "started" for row in read_attempts(folder, task))


def task_progress(job: Job) -> list[TaskProgress]:
    """Of each task, how far it has come. One reading: arrays have thousands of tasks."""
    last = {
        row["task"]: TaskProgress(row["event"], row.get("exit_code"), row.get("stopped", False))
        for row in read_attempts(job["folder"])
    }
    return [last.get(task, TaskProgress()) for task in range(len(job["commands"]))]


def exit_codes(job: Job) -> list[int | None]:
    """Of each task, the exit code of its last attempt; None where none has ended since it was last started."""
    return [progress.exit_code for progress in task_progress(job)]


def run_from_command_line(run: Callable[[Path, int], int]) -> int:
    """``run`` on the folder and the task that stand in the command line; its exit code."""
    folder, task = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    try:
        return run(folder, task)
    except OSError as error:
        print(f"error: {folder}: the task cannot be started ({error})", file=sys.stderr)
        return EXIT_CANNOT_START


if __name__ == "__main__":
    sys.exit(run_from_command_line(run_attempt))
