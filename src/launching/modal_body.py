"""The body of a job on Modal, which needs no Modal: a child process, its signals, commits of the volume, the writer.

A preempted container gets SIGINT and some 30 s; the body's own limit lies short of the engine's. Either sends SIGTERM
to the child, waits for its checkpoint and commits, and the call ends in failure so that a retry resumes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from core.errors import UserError
from languages import REPOSITORY
from launching.commands import resume_words, script_path, torchrun_words

PREEMPTION_SECONDS = 22.0  # of the 30 that Modal gives, the rest being for the commit
LIMIT_SECONDS = 300.0  # for the checkpoint at the body's own limit
COMMIT_SECONDS = 300.0  # between commits while the child runs
LEASE_SECONDS = 1200.0  # without a sign of life, a writer counts as gone
POLL_SECONDS = 0.2
FINAL_CODES = (2, 3)  # the scripts' own for mistakes: another attempt would end as the first


def child_command(spec: dict, attempt: int) -> list[str]:
    """The words to execute. The first attempt too resumes where it can, unless --overwrite or a PATH is given."""
    words = spec["words"]
    if attempt > 0 or not _says_how_to_start(words):
        words = resume_words(words)
    script, flags = str(script_path(words[0])), words[1:]
    if script.endswith(".sh"):
        return ["bash", script, *flags]
    resources = {"processes": spec["processes"], "nodes": 1}
    return [sys.executable, *torchrun_words(resources), script, *flags]


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
) -> dict:
    """Run ``command`` to its end, a signal's or the limit's; ``commit`` is called while it runs and after its end.

    Returns {"code": exit code, below 0 for a signal's number, "stopped": None, "SIGINT", "SIGTERM" or "limit"}.
    """
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: received.append(caught))
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
        stopped = _watch(child, received, time.monotonic() + limit_seconds, commit, commit_seconds)
        if stopped == "limit":
            _stop(child, stop_seconds)
    finally:  # also where the call is cancelled, which raises out of the wait
        try:
            _stop(child, preemption_seconds)
            commit()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return {"code": child.returncode, "stopped": stopped}


def _watch(
    child: subprocess.Popen, received: list[int], deadline: float, commit: Callable[[], None], commit_seconds: float
) -> str | None:
    """Wait for the child's end (None), or for a reason to stop it."""
    committed = time.monotonic()
    while True:
        try:
            child.wait(POLL_SECONDS)
            return None
        except subprocess.TimeoutExpired:
            pass
        if received:
            return signal.Signals(received[0]).name
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
        print(f"warning: the volume could not be committed ({error}); going on", file=sys.stderr, flush=True)


def _stop(child: subprocess.Popen, patience: float) -> None:
    """SIGTERM to the child, which hands it on; after ``patience`` seconds SIGKILL to all it started."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def conclude(result: dict, words: Sequence[str]) -> int:
    """0 where the script ended well, however it was stopped; else an exception, so that the call fails and is retried.

    A preempted call reports nothing (KeyboardInterrupt): the engine has put its input back already.
    """
    code, stopped = result["code"], result["stopped"]
    if code == 0:
        return 0
    if stopped in ("SIGINT", "SIGTERM"):
        raise KeyboardInterrupt(f"{words[0]}: preempted, stopped with exit code {code}; the retry resumes")
    if stopped == "limit":
        raise RuntimeError(f"{words[0]}: stopped at its limit with exit code {code}; the retry resumes")
    raise RuntimeError(f"{words[0]}: exit code {code}; its message is in the log above")


def claim_folder(writers: object, folder: str, owner: str, now: float) -> int:
    """Become the writer of ``folder``; returns how many attempts the same call has made before.

    writers: a Modal Dict, or what has its ``get(key)`` and ``put(key, value, skip_if_exists=…) -> bool`` as well.
    UserError where another call holds the folder and has given a sign of life within LEASE_SECONDS.
    """
    entry = {"owner": owner, "until": now + LEASE_SECONDS, "attempt": 0}
    if writers.put(folder, entry, skip_if_exists=True):
        return 0
    found = writers.get(folder) or entry | {"owner": None, "until": 0.0}
    if found["owner"] != owner and found["until"] > now:
        raise UserError(
            f"{folder}: expected no other writer, found call {found['owner']}; wait for it or stop it, "
            "or give another --tag or --exp"
        )
    attempt = found["attempt"] + 1 if found["owner"] == owner else 0
    writers.put(folder, entry | {"attempt": attempt})
    return attempt


def renew_claim(writers: object, folder: str, owner: str, until: float, **notes: object) -> None:
    """Hold the folder until ``until`` (seconds since the epoch), with ``notes``; the past gives it back."""
    found = writers.get(folder)
    if found and found["owner"] == owner:
        writers.put(folder, found | {"until": until} | notes)


def refuse_hopeless(writers: object, folder: str, owner: str) -> None:
    """Modal retries whatever failed: a script that ended with one of FINAL_CODES is not run a second time."""
    found = writers.get(folder)
    if found and found["owner"] == owner and found.get("final_code"):
        raise RuntimeError(f"{folder}: exit code {found['final_code']} in the attempt before; not tried again")


def run_spec(
    spec: dict,
    *,
    owner: str,
    writers: object,
    commit: Callable[[], None],
    clock: Callable[[], float] = time.time,
    **patience: float,
) -> int:
    """One attempt at a spec (launching/modal_jobs.py): claims its folder, runs, commits; 0, or an exception."""
    refuse_hopeless(writers, spec["folder"], owner)
    attempt = claim_folder(writers, spec["folder"], owner, clock())

    def commit_and_renew() -> None:
        commit()
        renew_claim(writers, spec["folder"], owner, clock() + LEASE_SECONDS)

    command = child_command(spec, attempt)
    print(f"attempt {attempt + 1} of {owner} in {spec['folder']}: {' '.join(command)}", flush=True)
    environment = spec["environment"] | ({"NPROC": str(spec["processes"])} if spec["processes"] > 1 else {})
    result = run_job(
        command, limit_seconds=spec["limit_seconds"], commit=commit_and_renew, environment=environment, **patience
    )
    if result["stopped"] is None:  # a stopped one keeps it for its retry
        final = result["code"] if result["code"] in FINAL_CODES else None
        renew_claim(writers, spec["folder"], owner, 0.0, final_code=final)
    return conclude(result, spec["words"])
