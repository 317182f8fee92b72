"""Slurm, through submitit: the script of a job, its state, its end. The task itself is in launching/slurm_task.py."""

import contextlib
import io
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from core.errors import UserError
from launching.attempts import last_rows
from launching.commands import show_commands
from launching.job import combine_states
from launching.slurm_task import CLIENT_SECONDS, ResumableTask, ask

STATES_OF_SLURM = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "requeued",
    "REQUEUE_HOLD": "requeued",
    "SPECIAL_EXIT": "requeued",
    "PREEMPTED": "requeued",
    "RUNNING": "running",
    "COMPLETING": "running",
    "SUSPENDED": "running",
    "STAGE_OUT": "running",
    "COMPLETED": "finished",
    "CANCELLED": "cancelled",
}
# The command is told to save so long before the end; a quarter of the limit where that is shorter.
SIGNAL_SECONDS = 120


def describe(job: dict) -> str:
    """The script as sbatch will read it, and the commands of its tasks."""
    from submitit.slurm.slurm import _make_sbatch_string

    shown = {} if len(job["commands"]) == 1 else {"map_count": len(job["commands"])}
    command = shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(_engine_folder(job))])
    script = _make_sbatch_string(command=command, folder=_engine_folder(job), **_parameters(job), **shown)
    return f"{script}\n{show_commands(job)}"


def submit(job: dict) -> dict:
    """Hand the job to sbatch; an array's ids are those of its tasks ("17_0", "17_1")."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("--backend slurm: expected sbatch and srun on PATH, found none; submit from a login node")
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    executor = SlurmExecutor(folder=_engine_folder(job), max_num_timeout=job["resources"]["requeues"])
    executor.update_parameters(**_parameters(job))
    tasks = [ResumableTask(job["folder"], task) for task in range(len(job["commands"]))]
    try:
        # submitit prints what sbatch said as well; it stands in the error.
        with contextlib.redirect_stderr(io.StringIO()):
            jobs = executor.submit_array(tasks)
    except FailedJobError as error:
        lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines()]
        raise UserError(f"sbatch refused the job: {'; '.join(filter(None, lines)) or 'no reason given'}") from error
    return job | {"ids": [submitted.job_id for submitted in jobs]}


def _engine_folder(job: dict) -> Path:
    return Path(job["folder"]) / "engine"


def _parameters(job: dict) -> dict:
    """What submitit writes at the head of the script."""
    resources, minutes = job["resources"], max(1, math.ceil(job["resources"]["hours"] * 60))
    parameters = {
        "job_name": job["name"],
        "time": minutes,
        "nodes": resources["nodes"],
        "ntasks_per_node": 1,
        "cpus_per_task": resources["cpus"],
        "signal_delay_s": min(SIGNAL_SECONDS, minutes * 60 // 4),
        "setup": [f"export PYTHONPATH={shlex.quote(job['environment']['PYTHONPATH'])}"],
        # Since Slurm 22.05, srun no longer takes the number of CPUs from the job.
        "srun_args": [f"--cpus-per-task={resources['cpus']}"],
        # A node that fails gives the job back to the queue; a job that can never start leaves it.
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"},
    }
    if resources["memory_gb"]:
        parameters["mem"] = f"{math.ceil(resources['memory_gb'] * 1024)}M"
    if resources["gpus"]:
        parameters["gpus_per_node"] = resources["gpus"]
    if len(job["commands"]) > 1 and job["array_parallelism"]:
        parameters["array_parallelism"] = job["array_parallelism"]
    if job["after"]:
        parameters["dependency"] = "afterok:" + ":".join(_plain_ids(job["after"]))
    named = {name: resources[name] for name in ("partition", "account", "constraint") if resources[name]}
    return parameters | named


def _plain_ids(records: list[dict]) -> list[str]:
    """The numbers of the jobs, an array's once."""
    return list(dict.fromkeys(number.partition("_")[0] for record in records for number in record["ids"]))


def state(record: dict) -> str:
    """Asks squeue for what is alive, sacct for what has ended, and the attempts where a site keeps no accounts."""
    numbers = ",".join(_plain_ids([record]))
    if not numbers:
        return "unknown"
    queued = ask("squeue", "--noheader", "--array", "--jobs", numbers, "--format", "%i|%T")
    ended = ask("sacct", "--noheader", "--allocations", "-P", "--jobs", numbers, "--format", "JobID,State")
    found = _states(ended) | _states(queued)
    return combine_states([_task_state(record, *task, found) for task in zip(record["ids"], last_rows(record))])


def _states(lines: str) -> dict[str, str]:
    """{"17_0": "RUNNING", …} from lines "17_0|RUNNING"; "CANCELLED by 0" counts as CANCELLED.

    Tasks of an array that never started share a line, "17_[3-5%2]|PENDING", which may be cut short: here "17_".
    """
    rows = [line.split("|") for line in lines.splitlines() if "|" in line]
    return {number.partition("[")[0]: words.split()[0].rstrip("+") for number, words in rows if words}


def _task_state(record: dict, number: str, row: dict, found: dict[str, str]) -> str:
    """The state of the task with Slurm's ``number``, whose last attempt left ``row``."""
    array, in_array, _ = number.partition("_")
    word, code = found.get(number) or found.get(array + in_array), row.get("exit_code")
    if word is None:
        if code is None:
            return "cancelled" if record.get("cancelled") else "unknown"
        return "finished" if code == 0 else "cancelled" if record.get("cancelled") else "failed"
    shown = STATES_OF_SLURM.get(word, "failed")
    if shown == "pending" and row:
        return "requeued"
    return shown


def cancel(record: dict) -> None:
    numbers = _plain_ids([record])
    done = subprocess.run(["scancel", *numbers], check=False, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    if done.returncode:
        raise UserError(f"scancel {' '.join(numbers)}: {' '.join(done.stderr.split())}")
