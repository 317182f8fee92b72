"""A task in a container of Modal, by plain Python: a child process, its signals, commits of the volume.

A preempted container gets SIGINT and some 30 s; the task's own limit lies short of the engine's. Either sends SIGTERM
to the child, waits for its checkpoint and commits, and the call ends in failure so that a retry resumes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.exit_codes import EXIT_SOME_FAILED, EXIT_USER_MISTAKE
from languages import REPOSITORY
from launching.commands import executed_words, resume_words
from launching.modal_writers import LEASE_SECONDS, claim_folder, refuse_hopeless, renew_claim

PREEMPTION_SECONDS = 22.0  # of the 30 that Modal gives, the rest being for the commit
LIMIT_SECONDS = 300.0  # for the checkpoint at the task's own limit
COMMIT_SECONDS = 300.0  # between commits while the child runs
POLL_SECONDS = 0.2
FINAL_CODES = (EXIT_USER_MISTAKE, EXIT_SOME_FAILED)  # another attempt would end as the first


class Outcome(NamedTuple):
    """How a child process ended."""

    code: int  # below 0: a signal's number
    stopped: str | None  # "SIGINT", "SIGTERM" or "limit" where it was told to stop


def child_command(words: list[str], processes: int, attempt: int) -> list[str]:
    """The words to execute. The first attempt too resumes where it can, unless --overwrite or a PATH is given."""
    resumes = attempt > 0 or not _says_how_to_start(words)
    return executed_words(resume_words(words) if resumes else words, processes)


def _says_how_to_start(words: Sequence[str]) -> bool:
    """--overwrite, or --resume with a value; a bare --resume would refuse the first attempt of a new name."""
    following = dict(zip(words, [*words[1:], "--"]))
    path = not following.get("--resume", "--").startswith("--")
    return path or any(word == "--overwrite" or word.startswith("--resume=") for word in words)


def run_job(
    command: Sequence[str],
    *,
    limit_seconds: float,
    commit: Callable[[], None],
    environment: dict[str, str] | None = None,
    preemption_seconds: float = PREEMPTION_SECONDS,
    stop_seconds: float = LIMIT_SECONDS,
    commit_seconds: float = COMMIT_SECONDS,
) -> Outcome:
    """Run ``command`` to its end, a signal's or the limit's; ``commit`` is called while it runs and after its end."""
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: signals.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    # In a session of its own: a SIGINT to the whole container must not reach the child, whose signal is SIGTERM.
    child = subprocess.Popen(
        [*command],
        env=os.environ | (environment or {}),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        stopped = _watch(child, signals, time.monotonic() + limit_seconds, commit, commit_seconds)
        if stopped == "limit":
            _stop(child, stop_seconds)
    finally:  # also where the call is cancelled, which raises out of the wait
        try:
            _stop(child, preemption_seconds)
            commit()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return Outcome(child.returncode, stopped)


def _watch(
    child: subprocess.Popen, signals: list[int], deadline: float, commit: Callable[[], None], commit_seconds: float
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
            _commit_or_warn(commit)


def _commit_or_warn(commit: Callable[[], None]) -> None:
    """A commit that fails halfway through a run (a network's hiccup) must not end it; the last one may."""
    try:
        commit()
    except Exception as error:
        print(f"warning: the volume could not be committed ({error}); the run continues", file=sys.stderr, flush=True)


def _stop(child: subprocess.Popen, patience: float) -> None:
    """SIGTERM to the child, which hands it on; after ``patience`` seconds SIGKILL to all it started."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def conclude(code: int, stopped: str | None, words: Sequence[str]) -> int:
    """0 where the script ended well, however it was stopped; else an exception, so that the call fails and is retried.

    A preempted call reports nothing (KeyboardInterrupt): the engine has put its input back already.
    """
    if code == 0:
        return 0
    if stopped in ("SIGINT", "SIGTERM"):
        raise KeyboardInterrupt(f"{words[0]}: preempted, stopped with exit code {code}; the retry resumes")
    if stopped == "limit":
        raise RuntimeError(f"{words[0]}: stopped at its limit with exit code {code}; the retry resumes")
    raise RuntimeError(f"{words[0]}: exit code {code}; its message is in the log above")


def run_spec(
    words: list[str],
    *,
    processes: int,
    folder: str,
    limit_seconds: float,
    environment: dict[str, str],
    owner: str,
    writers: object,
    commit: Callable[[], None],
    clock: Callable[[], float] = time.time,
    **patience: float,
) -> int:
    """One attempt at a core.records.ModalSpec: claims its folder, runs, commits; 0, or an exception."""
    refuse_hopeless(writers, folder, owner)
    attempt = claim_folder(writers, folder, owner, clock())

    def commit_and_renew() -> None:
        commit()
        renew_claim(writers, folder, owner, clock() + LEASE_SECONDS)

    command = child_command(words, processes, attempt)
    print(f"attempt {attempt + 1} of {owner} in {folder}: {' '.join(command)}", flush=True)
    if processes > 1:
        environment = environment | {"NPROC": str(processes)}
    code, stopped = run_job(
        command, limit_seconds=limit_seconds, commit=commit_and_renew, environment=environment, **patience
    )
    if stopped is None:  # a stopped one keeps it for its retry
        renew_claim(writers, folder, owner, 0.0, final_code=code if code in FINAL_CODES else None)
    return conclude(code, stopped, words)
