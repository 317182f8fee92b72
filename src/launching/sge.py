"""Grid Engine: the script of a job, its state, its end. The task itself is in launching/sge_task.py."""

import functools
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from languages import REPOSITORY
from launching.attempts import last_rows
from launching.commands import show_commands
from launching.job import combine_states

CLIENTS = ("qsub", "qstat", "qdel")
CLIENT_SECONDS = 60
PARALLEL_ENVIRONMENT = "smp"
# The command is told to save so long before the end; a quarter of the limit where that is shorter.
SIGNAL_SECONDS = 120
NOT_AN_ARRAY = "undefined"


def describe(job: dict) -> str:
    """The script as qsub will read it, and the commands of its tasks."""
    return f"{_script(job)}\n{show_commands(job)}"


def submit(job: dict) -> dict:
    """Hand the job to qsub; an array has one id."""
    missing = [name for name in CLIENTS if shutil.which(name) is None]
    if missing:
        raise UserError(f"--backend sge: expected qsub, qstat and qdel on PATH, no {missing[0]}; use a submit host")
    folder = Path(job["folder"]) / "engine"
    folder.mkdir()
    script = folder / "job.sh"
    script.write_text(_script(job), encoding="utf-8")
    done = _call("qsub", "-terse", str(script))
    if done.returncode:
        said = " ".join((done.stderr + done.stdout).split()) or "no reason given"
        raise UserError(f"qsub refused the job: {said}")
    return job | {"ids": [done.stdout.split()[-1].partition(".")[0]]}


def _script(job: dict) -> str:
    """bash with qsub's options in it; the shell becomes the task, so that signals reach it."""
    resources, folder = job["resources"], Path(job["folder"])
    words = [sys.executable, "-m", "launching.sge_task", str(folder)]
    lines = ["#!/bin/bash", *(f"#$ {option}" for option in _options(job))]
    lines.append(f'exec >> {shlex.quote(str(folder / "engine"))}/"$JOB_ID.${{SGE_TASK_ID/undefined/0}}.log" 2>&1')
    # Grid Engine sets no TMPDIR for root, and says of no GPU which one it is.
    lines.append('export TMPDIR="${TMPDIR:-/tmp}"')
    shared = {name: job["environment"][name] for name in ("PATH", "PYTHONPATH") if name in job["environment"]}
    lines += [f"export {name}={shlex.quote(value)}" for name, value in shared.items()]
    if resources["gpus"]:
        lines += [
            f"source {shlex.quote(str(REPOSITORY / 'scripts/gpu_functions.sh'))}",
            f"take_gpus {resources['gpus']} || exit $?",
        ]
    task = ' "$((SGE_TASK_ID - 1))"' if len(job["commands"]) > 1 else ""
    return "\n".join([*lines, f"exec {shlex.join(words)}{task}"]) + "\n"


def _options(job: dict) -> list[str]:
    """What qsub reads from the script, one option a line."""
    resources = job["resources"]
    if resources["nodes"] > 1:
        raise UserError("--nodes: Grid Engine's environment smp holds a job on one node; leave it out")
    name = job["name"] if job["name"][0].isalpha() else f"job_{job['name']}"
    options = [
        f"-N {name}",
        "-S /bin/bash",
        f"-wd {shlex.quote(str(REPOSITORY))}",
        "-j y",
        "-o /dev/null",  # qsub takes no quote, colon, comma or dollar in a path; the script knows where to print
        "-notify",  # a signal before it kills, and before it suspends
        "-r y",  # a node that fails gives the job back to the queue
    ]
    options += [f"-l {request}" for request in _requests(resources)]
    if slots := _slots(resources):
        options.append(f"-pe {PARALLEL_ENVIRONMENT} {slots}")
    if len(job["commands"]) > 1:
        options.append(f"-t 1-{len(job['commands'])}")
        if job["array_parallelism"]:
            options.append(f"-tc {job['array_parallelism']}")
    if job["after"]:
        options.append("-hold_jid " + ",".join(number for record in job["after"] for number in record["ids"]))
    named = {"-q": resources["partition"], "-P": resources["account"]}
    return options + [f"{flag} {shlex.quote(value)}" for flag, value in named.items() if value]


def _requests(resources: dict) -> list[str]:
    """Complexes: hard and soft limit of the time, memory, GPUs, and the constraint as it stands."""
    requests = []
    if resources["hours"]:
        seconds = max(1, round(resources["hours"] * 3600))
        requests.append(f"h_rt={seconds},s_rt={seconds - min(SIGNAL_SECONDS, seconds // 4)}")
    if resources["memory_gb"]:
        requests.append(f"mem_free={math.ceil(resources['memory_gb'] * 1024)}M")
    if resources["gpus"]:
        requests.append(f"gpu={_gpus_a_slot(resources)}")
    return requests + ([resources["constraint"]] if resources["constraint"] else [])


def _slots(resources: dict) -> int | None:
    """Slots of the parallel environment, one a core; None where the job needs none."""
    return resources["cpus"] if resources["cpus"] > 1 else None


def _gpus_a_slot(resources: dict) -> int:
    """What to ask of the complex ``gpu``: the job's number, or, where a site counts it by slots, a slot's share."""
    if _consumable("gpu") != "YES":
        return resources["gpus"]
    share, rest = divmod(resources["gpus"], resources["cpus"])
    if rest:
        raise UserError(
            f"--gpus {resources['gpus']} --cpus {resources['cpus']}: here the complex gpu counts once for each slot "
            "(qconf -sc: consumable YES); give as many --cpus as --gpus, or ask for consumable JOB"
        )
    return share


def _consumable(name: str) -> str | None:
    """The column consumable of a complex: "JOB" or "YES"; None where there is none, or nobody to ask."""
    rows = [line.split() for line in ask("qconf", "-sc").splitlines() if line and not line.startswith("#")]
    return next((row[5] for row in rows if len(row) > 5 and name in row[:2]), None)


def _call(*command: str) -> subprocess.CompletedProcess:
    """Other people's jobs stand in the answers as well, in whatever encoding their names have."""
    try:
        return subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace", timeout=CLIENT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]}: no answer in {CLIENT_SECONDS} s; is Grid Engine's master running?") from error


def ask(*command: str) -> str:
    """What a client of Grid Engine prints; nothing where it fails (an id that is forgotten, no accounts) or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = _call(*command)
    except UserError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def state(record: dict) -> str:
    """Asks qstat for what is alive, the attempts for what has ended, and qacct for what was killed."""
    if not record["ids"]:
        return "unknown"
    # The attempts are read after the queue: a task that leaves it in between has ended in them.
    queued = _queued_tasks(ask("qstat", "-xml", "-g", "d", "-u", "*"), record["ids"][0])
    accounts = functools.cache(_accounts)  # qacct reads all that a site ever ran: once, and where nothing else tells
    tasks = enumerate(last_rows(record))
    return combine_states([_task_state(record, task, row, queued, accounts) for task, row in tasks])


def _queued_tasks(listing: str, number: str) -> dict[int, str] | None:
    """Task -> Grid Engine's letters for it, of the job ``number`` in the output of ``qstat -xml -g d``.

    None where there was no answer: even an empty queue has one.
    """
    if not listing:
        return None
    found = {}
    for row in ElementTree.fromstring(listing).iter("job_list"):
        if row.findtext("JB_job_number") == number:
            task = row.findtext("tasks") or "1"
            found[int(task) - 1] = row.findtext("state") or ""
    return found


def _task_state(
    record: dict, task: int, row: dict, queued: dict[int, str] | None, accounts: Callable[[str], dict[int, bool]]
) -> str:
    """The state of a task whose last attempt left ``row``; ``queued`` None: Grid Engine does not answer."""
    if queued and task in queued:
        return _state_of_letters(queued[task], started=bool(row))
    code = row.get("exit_code")
    if code == 0:
        return "finished"
    if queued is None and not _is_over(row):
        return "unknown"
    if record.get("cancelled") or row.get("event") == "skipped":
        return "cancelled"
    if code is not None:
        return "failed"
    # It is over, and its attempts do not say so: killed, or the file system is late.
    ended_well = accounts(record["ids"][0]).get(task)
    return "unknown" if ended_well is None else "finished" if ended_well else "failed"


def _state_of_letters(letters: str, *, started: bool) -> str:
    """qw, hqw: waiting; Rq, Rqw: waiting after an attempt; Eqw: cannot start; r, t, s, S, T, d: on a node."""
    if "E" in letters:
        return "failed"
    if "q" in letters:
        return "requeued" if started or "R" in letters else "pending"
    return "running"


def _is_over(row: dict) -> bool:
    """Whether its last row says of a task that no further attempt will follow."""
    may_come_back = row.get("exit_code") in (None, EXIT_STOPPED) or row["stopped"]
    return row.get("event") == "skipped" or not may_come_back


def _accounts(number: str) -> dict[int, bool]:
    """Of each task that the accounts know to be over, whether its last attempt ended with code 0."""
    found = {}
    for block in ask("qacct", "-j", number).split("=" * 62):
        words = dict(line.split()[:2] for line in block.splitlines() if len(line.split()) > 1)
        if task := words.get("taskid"):
            ended_well = (words.get("failed"), words.get("exit_status")) == ("0", "0")
            found[0 if task == NOT_AN_ARRAY else int(task) - 1] = ended_well
    return found


def cancel(record: dict) -> None:
    """With -notify, the command is told first, and saves."""
    done = _call("qdel", *record["ids"])
    # A task that has just ended is nothing to complain about.
    if done.returncode and "does not exist" not in done.stdout + done.stderr:
        raise UserError(f"qdel {' '.join(record['ids'])}: {' '.join((done.stdout + done.stderr).split())}")
