"""A task in a container of Modal, by plain Python: a child process, its signals, commits of the volume.

A preempted container gets SIGINT and some 30 s; the task's own limit lies short of the engine's. Either sends SIGTERM
to the child, waits for its checkpoint and commits, and the call ends in failure so that a retry resumes. Whatever a
retry could not change is *returned* (core.records.ModalOutcome), because Modal retries every exception.
"""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED, EXIT_STOPPED, EXIT_USER_MISTAKE
from core.records import AttemptRow, ModalOutcome, WriterClaim
from languages import exp_root
from launching.commands import executed_words, flag_value, resume_words
from launching.job import now
from launching.modal_child import Outcome, run_job
from launching.modal_paths import STRAY_FOLDER, link_roots, list_files, rescue_strays
from launching.modal_progress import progress_mark
from launching.modal_writers import LEASE_SECONDS, Lives, claim_folder, update_claim

FINAL_CODES = (EXIT_USER_MISTAKE, EXIT_SOME_FAILED)  # another attempt would end as the first
MAX_SILENT = 3  # attempts that die without a word and gain nothing: a container that is out of memory, say


def child_command(words: list[str], processes: int, attempt: int) -> list[str]:
    """The words to execute. The first attempt too resumes where it can, unless --overwrite or a PATH is given."""
    resumes = attempt > 0 or not _says_how_to_start(words)
    return executed_words(resume_words(words) if resumes else words, processes)


def _says_how_to_start(words: Sequence[str]) -> bool:
    """--overwrite, or --resume with a value; a bare --resume would refuse the first attempt of a new name."""
    following = dict(zip(words, [*words[1:], "--"]))
    path = not following.get("--resume", "--").startswith("--")
    return path or any(word == "--overwrite" or word.startswith("--resume=") for word in words)


def judge(ended: Outcome, *, gained: bool) -> str:
    """What to do after an attempt: "return" its code, or let it be tried "again", or it was "preempted".

    gained: the attempt left something that another one goes on from.
    """
    if ended.code == 0 or ended.stopped == "lost":
        return "return"
    if ended.stopped in ("SIGINT", "SIGTERM"):
        return "preempted"
    if ended.stopped == "limit" and ended.code == EXIT_STOPPED:
        return "again"  # it says that it has saved
    if not gained or (ended.stopped is None and ended.code in FINAL_CODES):
        return "return"
    return "again"


def describe_end(ended: Outcome, words: Sequence[str], limit_seconds: float, *, gained: bool) -> str:
    """One line on an attempt that did not end well; the script's own message where there is one."""
    if ended.stopped == "lost":
        return f"{words[0]}: another call has taken its folder over; stopped"
    if ended.stopped == "limit" and not gained and ended.code != EXIT_STOPPED:
        hours = limit_seconds / 3600
        return f"{words[0]}: stopped at its limit of {hours:.1f} h with nothing to go on from; give more --hours"
    if ended.stopped:
        reason = "stopped at its limit" if ended.stopped == "limit" else "preempted"
        return f"{words[0]}: {reason}, exit code {ended.code}; the retry resumes"
    return ended.message or f"{words[0]}: exit code {ended.code}"


def conclude(ended: Outcome, verdict: str, said: str, rows: list[AttemptRow]) -> ModalOutcome:
    """What the call returns, or the exception by which Modal tries again.

    A preempted call reports nothing (KeyboardInterrupt): the engine has put its input back already.
    """
    if verdict == "preempted":
        raise KeyboardInterrupt(said)
    if verdict == "again":
        error = RuntimeError(said)
        error.exit_code = ended.code  # for the attempt that turns out to be the last
        raise error
    code = EXIT_USER_MISTAKE if ended.stopped == "lost" else ended.code
    return {"exit_code": code, "message": said, "rows": rows}


def read_end(found: ModalOutcome | Exception) -> tuple[int, str]:
    """(exit code as a shell has it, line to print) of what a call returned or raised."""
    if isinstance(found, BaseException):
        code, message = getattr(found, "exit_code", 1), str(found)
    else:
        code, message = found["exit_code"], found["message"]
    return (128 - code if code < 0 else code), message


def _started_row(claim: WriterClaim, command: list[str]) -> AttemptRow:
    row = {"task": 0, "attempt": claim["attempt"] + 1, "event": "started", "at": now(), "host": socket.gethostname()}
    return row | {"command": command, "engine_id": claim["call"]}


def _ended_row(ended: Outcome, verdict: str) -> AttemptRow:
    row = {"task": 0, "event": "ended", "at": now(), "exit_code": ended.code, "stopped": ended.stopped is not None}
    return row | ({"reason": verdict} if verdict == "preempted" else {})


def _count_silent(claim: WriterClaim, mark: str) -> int:
    """Attempts before this one, in a row, that ended without a word and had gained nothing."""
    rows = claim.get("rows") or []
    was_silent = rows and rows[-1]["event"] == "started" and claim.get("mark") == mark
    return claim.get("silent", 0) + 1 if was_silent else 0


def _was_last(rows: Sequence[AttemptRow], retries: int) -> bool:
    """Whether Modal makes no further attempt: retries count failures, not preemptions."""
    return sum(row["event"] == "ended" and "reason" not in row for row in rows) > retries


def run_spec(
    words: list[str],
    *,
    folder: str,
    owner: str,
    writers: object,
    lives: Lives,
    working_folder: Path,
    call: str | None = None,
    environment: dict[str, str],
    clock: Callable[[], float] = time.time,
    staged: AbstractContextManager[dict[str, str]] | None = None,
    **attempt: object,
) -> ModalOutcome:
    """One attempt at a core.records.ModalSpec: claims its folder, runs, commits.

    Returns how it ended; raises where Modal is to try again. ``working_folder`` is that of the child; ``call`` the
    call that does the work, where its owner is another. ``staged`` copies what the child reads, once the folder is
    claimed, and gives it variables. ``attempt``: the further arguments of run_attempt.
    """
    try:
        link_roots(working_folder)
        claim = claim_folder(writers, folder, owner, clock(), lives, call=call)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return {"exit_code": EXIT_USER_MISTAKE, "message": f"error: {error}", "rows": []}

    def update(*, hold: bool, **notes: object) -> bool:
        until = clock() + LEASE_SECONDS if hold else 0.0
        return update_claim(writers, folder, owner, until=until, **notes)

    experiment = experiment_folder(words, folder, working_folder)
    with staged or nullcontext({}) as variables:
        return run_attempt(
            words, claim, update, experiment, working_folder, environment=environment | variables, **attempt
        )


def experiment_folder(words: Sequence[str], folder: str, working_folder: Path) -> Path:
    """Where the command writes: --exp as it stands, which may lie deeper than the name of its claim."""
    given = flag_value(words, "exp") or flag_value(words, "out_dir")
    return working_folder / given if given else exp_root() / folder.partition("/")[0]


def run_attempt(
    words: list[str],
    claim: WriterClaim,
    update: Callable[..., bool],
    experiment: Path,
    working_folder: Path,
    *,
    processes: int,
    limit_seconds: float,
    environment: dict[str, str],
    retries: int,
    commit: Callable[[], None],
    **patience: float,
) -> ModalOutcome:
    """Run ``words`` once; ``update(hold=…, **notes)`` holds the folder or gives it back, False: it is another's."""
    mark = progress_mark(experiment)
    silent, rows, hold = _count_silent(claim, mark), [*(claim.get("rows") or [])], False
    command = child_command(words, processes, claim["attempt"])
    if processes > 1:
        environment = environment | {"NPROC": str(processes)}
    before = list_files(working_folder)

    def commit_and_renew() -> bool:
        commit()
        if rescue_strays(working_folder, before, experiment):
            commit()
        return update(hold=True)

    try:
        if silent >= MAX_SILENT:
            said = f"{words[0]}: died {silent} times without a word and without a step; try more --memory_gb"
            print(f"error: {said}", file=sys.stderr, flush=True)
            return {"exit_code": 1, "message": said, "rows": rows}
        rows.append(_started_row(claim, command))
        update(hold=True, rows=rows, mark=mark, silent=silent)
        title = f"attempt {claim['attempt'] + 1} of {claim['owner']} in {experiment.name}"
        print(f"{title}: {' '.join(command)}", flush=True)
        ended = run_job(
            command,
            limit_seconds=limit_seconds,
            commit=commit_and_renew,
            environment=environment,
            folder=working_folder,
            **patience,
        )
        if (experiment / STRAY_FOLDER).is_dir():
            print(f"what was written beside exp/ and data/ is in {experiment / STRAY_FOLDER}", flush=True)
        gained = progress_mark(experiment) != mark
        verdict = judge(ended, gained=gained)
        rows.append(_ended_row(ended, verdict))
        hold = verdict == "preempted" or (verdict == "again" and not _was_last(rows, retries))
    finally:
        update(hold=hold, rows=rows)
    said = "" if ended.code == 0 else describe_end(ended, words, limit_seconds, gained=gained)
    return conclude(ended, verdict, said, rows)
