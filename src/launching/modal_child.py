"""A child process in a container of Modal: signals handed on to it, its errors read, the volume committed meanwhile."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from languages import REPOSITORY

PREEMPTION_SECONDS = 22.0  # of the 30 that Modal gives, the rest being for the commit
LIMIT_SECONDS = 300.0  # for the checkpoint at the task's own limit
COMMIT_SECONDS = 300.0  # between commits while the child runs
POLL_SECONDS = 0.2
TAIL_BYTES = 8192  # of what the child prints as errors, to find its message in
ERROR_LINE = re.compile(r"^(\S+: )?error: ")  # as core.cli and argparse print it


class Outcome(NamedTuple):
    """How a child process ended."""

    code: int  # below 0: a signal's number
    stopped: str | None  # "SIGINT", "SIGTERM", "limit" or "lost" where it was told to stop
    message: str = ""  # the line that says why, of what it printed as errors


def run_job(
    command: Sequence[str],
    *,
    limit_seconds: float,
    commit: Callable[[], bool | None],
    environment: dict[str, str] | None = None,
    folder: Path = REPOSITORY,
    preemption_seconds: float = PREEMPTION_SECONDS,
    stop_seconds: float = LIMIT_SECONDS,
    commit_seconds: float = COMMIT_SECONDS,
) -> Outcome:
    """Run ``command`` in ``folder`` to its end, a signal's or the limit's.

    ``commit`` is called while it runs and after its end; where it returns False, the child is stopped.
    """
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: signals.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    # In a session of its own: a SIGINT to the whole container must not reach the child, whose signal is SIGTERM.
    child = subprocess.Popen(
        [*command],
        env=os.environ | (environment or {}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    tail, stopped = bytearray(), None
    errors = threading.Thread(target=_hand_on, args=(child.stderr, tail), daemon=True)
    errors.start()
    try:
        stopped = _watch(child, signals, time.monotonic() + limit_seconds, commit, commit_seconds)
        if stopped == "limit":
            _stop(child, stop_seconds)
    finally:  # also where the call is cancelled, which raises out of the wait
        try:
            _stop(child, preemption_seconds)
            if stopped != "lost":
                commit()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    errors.join(POLL_SECONDS * 10)  # what the child has started may hold its end open
    return Outcome(child.returncode, stopped, find_message(tail.decode(errors="replace")))


def _hand_on(stream: BinaryIO, tail: bytearray) -> None:
    """Print what comes from ``stream`` as it comes, and keep the end of it."""
    while chunk := os.read(stream.fileno(), TAIL_BYTES):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
        tail += chunk
        del tail[:-TAIL_BYTES]


def find_message(text: str) -> str:
    """The last line of ``text`` that begins as an error does, else its last line."""
    lines = [line.rpartition("\r")[2].strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if ERROR_LINE.match(line)), lines[-1] if lines else "")


def _watch(
    child: subprocess.Popen,
    signals: list[int],
    deadline: float,
    commit: Callable[[], bool | None],
    commit_seconds: float,
) -> str | None:
    """Wait for the child's end (None), or for a reason to stop it."""
    committed = time.monotonic()
    while True:
        try:
            child.wait(POLL_SECONDS)
            return None
        except subprocess.TimeoutExpired:
            pass
        if signals:
            return signal.Signals(signals[0]).name
        if time.monotonic() >= deadline:
            return "limit"
        if time.monotonic() - committed >= commit_seconds:
            committed = time.monotonic()
            if _commit_or_warn(commit) is False:
                return "lost"


def _commit_or_warn(commit: Callable[[], bool | None]) -> bool | None:
    """A commit that fails halfway through a run (a network's hiccup) must not end it; the last one may."""
    try:
        return commit()
    except Exception as error:
        print(f"warning: the volume could not be committed ({error}); the run continues", file=sys.stderr, flush=True)
        return None


def _stop(child: subprocess.Popen, patience: float) -> None:
    """SIGTERM to the child, which hands it on; after ``patience`` seconds SIGKILL to all it started."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
