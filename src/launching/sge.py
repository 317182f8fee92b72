"""Grid Engine: the script of a job, its state, its end. The task itself is in launching/sge_task.py."""

import functools
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from xml.etree import ElementTree

from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.records import Job, JobRecord
from languages import REPOSITORY
from launching.attempts import TaskProgress, task_progress
from launching.commands import export_lines, show_commands
from launching.job import combine_states, engine_folder, resources_of
from launching.scheduler_queries import ask, call_client
from launching.sge_requests import requests_of
from launching.site import site_of

CLIENTS = ("qsub", "qstat", "qdel")
TASK_OUTSIDE_ARRAYS = "undefined"


def describe(job: Job) -> str:
    """The script as qsub will read it, and the commands of its tasks."""
    return f"{_script(job)}\n{show_commands(job)}"


def submit(job: Job) -> JobRecord:
    """Hand the job to qsub; an array has one id."""
    missing = [name for name in CLIENTS if shutil.which(name) is None]
    if missing:
        raise UserError(f"--backend sge: expected qsub, qstat and qdel on PATH, no {missing[0]}; use a submit host")
    folder = engine_folder(job)
    folder.mkdir()
    script = folder / "job.sh"
    script.write_text(_script(job), encoding="utf-8")
    done = call_client("qsub", "-terse", str(script))
    if done.returncode:
        said = " ".join((done.stderr + done.stdout).split()) or "no reason given"
        raise UserError(f"qsub refused the job: {said}")
    number = read_number(done.stdout)
    if number is None:
        (folder / "qsub.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return job | {"ids": [number] if number else []}


def read_number(said: str) -> str | None:
    """The job's number in what qsub prints, whatever a site adds before or after; None where there is none.

    Its places: a line of its own, "4711" or "4711.1-4:1" (-terse), or "Your job 4711 (…)", "Your job-array 4711.1-4:1".
    """
    found = re.search(r"^\s*(\d+)(\.\d+-\d+:\d+)?\s*$", said, re.M)
    found = found or re.search(r"\byour job(?:-array)? (\d+)\b", said, re.I)
    return found[1] if found else None


def _script(job: Job) -> str:
    """bash with qsub's options in it; the shell becomes the task, so that signals reach it."""
    n_tasks, n_gpus = len(job["commands"]), resources_of(job).gpus
    words = [sys.executable, "-m", "launching.sge_task", job["folder"]]
    lines = ["#!/bin/bash", *(f"#$ {option}" for option in _options(job))]
    lines.append(f'exec >> {shlex.quote(str(engine_folder(job)))}/"$JOB_ID.${{SGE_TASK_ID/undefined/0}}.log" 2>&1')
    # Grid Engine sets no TMPDIR for root, and says of no GPU which one it is.
    lines.append('export TMPDIR="${TMPDIR:-/tmp}"')
    lines += [*export_lines(job), *site_of(job).setup]
    if n_gpus:
        lines += [
            f"source {shlex.quote(str(REPOSITORY / 'scripts/gpu_functions.sh'))}",
            f"take_gpus {n_gpus} {site_of(job).gpu_complex} || exit $?",
        ]
    task = ' "$((SGE_TASK_ID - 1))"' if n_tasks > 1 else ""
    return "\n".join([*lines, f"exec {shlex.join(words)}{task}"]) + "\n"


def _options(job: Job) -> list[str]:
    """What qsub reads from the script, one option per line."""
    name, n_tasks, at_once, resources = job["name"], len(job["commands"]), job["array_parallelism"], resources_of(job)
    environment = site_of(job).parallel_environment
    if resources.nodes > 1:
        raise UserError(f"--nodes: Grid Engine's environment {environment} holds a job on one node; leave it out")
    options = [
        f"-N {name if name[0].isalpha() else f'job_{name}'}",
        "-S /bin/bash",
        f"-wd {shlex.quote(str(REPOSITORY))}",
        "-j y",
        "-o /dev/null",  # qsub takes no quote, colon, comma or dollar in a path; the script knows where to print
        "-notify",  # a signal before it kills, and before it suspends
        "-r y",  # a node that fails gives the job back to the queue
    ]
    options += [f"-l {request}" for request in requests_of(resources, site_of(job))]
    if resources.cpus > 1:  # a slot of the parallel environment is a core
        options.append(f"-pe {environment} {resources.cpus}")
    if n_tasks > 1:
        options.append(f"-t 1-{n_tasks}")
        if at_once:
            options.append(f"-tc {at_once}")
    if waited_for := [number for record in job["after"] for number in record["ids"]]:
        options.append(f"-hold_jid {','.join(waited_for)}")
    named = {"-q": resources.partition, "-P": resources.account}
    options += [f"{flag} {shlex.quote(value)}" for flag, value in named.items() if value]
    return [*options, *resources.engine_args]


def state(record: JobRecord) -> str:
    return combine_states(task_states(record))


def task_states(record: JobRecord) -> list[str]:
    """Asks qstat for what is alive, the attempts for what has ended, and qacct for what was killed."""
    ids, cancelled = record["ids"], "cancelled" in record
    if not ids:
        return []
    # The attempts are read after the queue: a task that leaves it in between has ended in them.
    queued = _queued_tasks(ask("qstat", "-xml", "-g", "d", "-u", "*"), ids[0])
    accounts = functools.cache(lambda: _accounts(ids[0]))  # reads all that a site ever ran: once, and only where needed
    return [
        _task_state(task, progress, queued, accounts, cancelled=cancelled)
        for task, progress in enumerate(task_progress(record))
    ]


def _queued_tasks(listing: str, number: str) -> dict[int, str] | None:
    """Task -> Grid Engine's letters for it, of the job ``number`` in the output of ``qstat -xml -g d``.

    None where there was no answer: even an empty queue has one.
    """
    # A site may greet before and after.
    answer = re.search(r"<job_info\b(?:[^>]*/>|.*</job_info>)", listing, re.S)
    if not answer:
        return None
    found = {}
    # The scheduler's own answer; expat ends entities that grow.
    for row in ElementTree.fromstring(answer[0]).iter("job_list"):  # noqa: S314
        if row.findtext("JB_job_number") == number:
            task = row.findtext("tasks") or "1"
            found[int(task) - 1] = row.findtext("state") or ""
    return found


def _task_state(
    task: int,
    progress: TaskProgress,
    queued: dict[int, str] | None,
    accounts: Callable[[], dict[int, bool]],
    *,
    cancelled: bool,
) -> str:
    """The state of a task of a job that may have been ``cancelled``; ``queued`` None: Grid Engine does not answer."""
    if queued and task in queued:
        return _state_of_letters(queued[task], started=progress.event is not None)
    if progress.exit_code == 0:
        return "finished"
    if queued is None and not _is_over(progress):
        return "unknown"
    if cancelled or progress.event == "skipped":
        return "cancelled"
    if progress.exit_code is not None:
        return "failed"
    # It is over, and its attempts do not say so: killed, or the file system is late.
    ended_well = accounts().get(task)
    return "unknown" if ended_well is None else "finished" if ended_well else "failed"


def _state_of_letters(letters: str, *, started: bool) -> str:
    """qw, hqw: waiting; Rq, Rqw: waiting after an attempt; Eqw: cannot start; r, t, s, S, T, d: on a node."""
    if "E" in letters:
        return "failed"
    if "q" in letters:
        return "requeued" if started or "R" in letters else "pending"
    return "running"


def _is_over(progress: TaskProgress) -> bool:
    """Whether no further attempt of the task will follow."""
    may_come_back = progress.exit_code in (None, EXIT_STOPPED) or progress.stopped
    return progress.event == "skipped" or not may_come_back


def _accounts(number: str) -> dict[int, bool]:
    """Of each task that the accounts know to be over, whether its last attempt ended with code 0."""
    found = {}
    for block in ask("qacct", "-j", number).split("=" * 62):
        words = dict(line.split()[:2] for line in block.splitlines() if len(line.split()) > 1)
        if task := words.get("taskid"):
            ended_well = (words.get("failed"), words.get("exit_status")) == ("0", "0")
            if task == TASK_OUTSIDE_ARRAYS or task.isdigit():
                found[0 if task == TASK_OUTSIDE_ARRAYS else int(task) - 1] = ended_well
    return found


def cancel(record: JobRecord) -> None:
    """With -notify, the command is told first, and saves."""
    ids = record["ids"]
    done = call_client("qdel", *ids)
    # A task that has just ended is nothing to complain about.
    if done.returncode and "does not exist" not in done.stdout + done.stderr:
        raise UserError(f"qdel {' '.join(ids)}: {' '.join((done.stdout + done.stderr).split())}")
