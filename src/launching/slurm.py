"""Slurm, through submitit: the script of a job, its state, its end. The task itself is in launching/slurm_task.py."""

import contextlib
import io
import math
import re
import shlex
import shutil
import sys

from core.errors import UserError
from core.records import Job, JobRecord
from launching.attempts import TaskProgress, task_progress
from launching.commands import export_lines, show_commands
from launching.job import Resources, combine_states, engine_folder, resources_of
from launching.scheduler_queries import ask, call_client
from launching.site import site_of
from launching.slurm_args import additional_parameters
from launching.slurm_task import ResumableTask

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


def describe(job: Job) -> str:
    """The script as sbatch will read it, and the commands of its tasks."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder, n_tasks = engine_folder(job), len(job["commands"])
    array = {"map_count": n_tasks} if n_tasks > 1 else {}
    command = shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(folder)])
    script = _make_sbatch_string(command=command, folder=folder, **_parameters(job), **array)
    return f"{script}\n{show_commands(job)}"


def submit(job: Job) -> JobRecord:
    """Hand the job to sbatch; an array's ids are those of its tasks ("17_0", "17_1")."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("--backend slurm: expected sbatch and srun on PATH, found none; submit from a login node")
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    executor = SlurmExecutor(folder=engine_folder(job), max_num_timeout=resources_of(job).requeues)
    executor.update_parameters(**_parameters(job))
    executor._get_job_id_from_submission_command = read_number
    tasks = [ResumableTask(job["folder"], task) for task in range(len(job["commands"]))]
    try:
        # submitit prints what sbatch said as well; it stands in the error.
        with contextlib.redirect_stderr(io.StringIO()):
            jobs = executor.submit_array(tasks)
    except FailedJobError as error:
        lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines()]
        raise UserError(f"sbatch refused the job: {'; '.join(filter(None, lines)) or 'no reason given'}") from error
    return job | {"ids": [submitted.job_id for submitted in jobs]}


def read_number(said: str | bytes) -> str:
    """The job's number in what sbatch prints, "Submitted batch job 17", whatever a site adds before or after."""
    from submitit import SlurmExecutor

    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    found = re.search(r"^Submitted batch job (\d+)", text, re.M)
    return found[1] if found else SlurmExecutor._get_job_id_from_submission_command(text)


def _parameters(job: Job) -> dict[str, object]:
    """What submitit writes at the head of the script."""
    resources, after, array_parallelism = resources_of(job), job["after"], job["array_parallelism"]
    minutes = max(1, math.ceil(resources.hours * 60))
    always = {
        "job_name": job["name"],
        "time": minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "signal_delay_s": min(SIGNAL_SECONDS, minutes * 60 // 4),
        "setup": [*export_lines(job), *site_of(job).setup],
        # Since Slurm 22.05, srun no longer takes the number of CPUs from the job; SBATCH_EXPORT=NONE, which many sites
        # set, would keep from it what the lines above have set.
        "srun_args": [f"--cpus-per-task={resources.cpus}", "--export=ALL"],
        # A node that fails gives the job back to the queue; a job that can never start leaves it.
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **_asked_by_hand(resources)},
        "wckey": None,  # submitit's own is refused where a site keeps a list of them
    }
    where_given = {
        "mem": f"{math.ceil(resources.memory_gb * 1024)}M" if resources.memory_gb else None,
        "array_parallelism": array_parallelism if len(job["commands"]) > 1 else None,
        "dependency": "afterok:" + ":".join(_plain_ids(after)) if after else None,
        "partition": resources.partition,
        "account": resources.account,
        "constraint": resources.constraint,
    }
    return always | {name: value for name, value in where_given.items() if value}


def _asked_by_hand(resources: Resources) -> dict[str, object]:
    """What --engine_args hands on, and the GPUs beside it.

    As --gres, which Slurm 20 knows under every plugin that selects nodes; --gpus-per-node wants one of them.
    """
    options = additional_parameters(resources.engine_args)
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    gres = [f"gpu:{kind}{resources.gpus}"] if resources.gpus else []
    others = [str(options["gres"])] if "gres" in options else []
    return options | ({"gres": ",".join(gres + others)} if gres or others else {})


def _plain_ids(records: list[JobRecord]) -> list[str]:
    """The numbers of the jobs, an array's once."""
    return list(dict.fromkeys(number.partition("_")[0] for record in records for number in record["ids"]))


def state(record: JobRecord) -> str:
    return combine_states(task_states(record))


def task_states(record: JobRecord) -> list[str]:
    """Asks squeue for what is alive, sacct for what has ended, and the attempts where a site keeps no accounts."""
    ids, cancelled = record["ids"], "cancelled" in record
    numbers = ",".join(_plain_ids([record]))
    if not numbers:
        return []
    queued = ask("squeue", "--noheader", "--array", "--jobs", numbers, "--format", "%i|%T")
    ended = ask("sacct", "--noheader", "--allocations", "-P", "--jobs", numbers, "--format", "JobID,State")
    found = _states(ended) | _states(queued)
    tasks = zip(ids, task_progress(record))
    return [_task_state(number, progress, found, cancelled=cancelled) for number, progress in tasks]


def _states(lines: str) -> dict[str, str]:
    """{"17_0": "RUNNING", …} from lines "17_0|RUNNING"; "CANCELLED by 0" counts as CANCELLED.

    Tasks of an array that never started share a line, "17_[3-5%2]|PENDING", which may be cut short: here "17_".
    """
    rows = re.findall(r"^\s*(\d+(?:_\d*)?)(?:\[.*)?\|\s*([A-Z_]+)", lines, re.M)  # a site may greet before and after
    return dict(rows)


def _task_state(number: str, progress: TaskProgress, found: dict[str, str], *, cancelled: bool) -> str:
    """The state of the task with Slurm's ``number``, of a job that may have been ``cancelled``."""
    array, in_array, _ = number.partition("_")
    word, code = found.get(number) or found.get(array + in_array), progress.exit_code
    if word is None:
        if code is None:
            return "cancelled" if cancelled else "unknown"
        return "finished" if code == 0 else "cancelled" if cancelled else "failed"
    shown = STATES_OF_SLURM.get(word, "failed")
    return "requeued" if shown == "pending" and progress.event else shown


def cancel(record: JobRecord) -> None:
    numbers = _plain_ids([record])
    done = call_client("scancel", *numbers)
    if done.returncode:
        raise UserError(f"scancel {' '.join(numbers)}: {' '.join(done.stderr.split())}")
