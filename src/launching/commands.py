"""The exact command line of a task: interpreter, torchrun where there are several processes, and what resuming adds."""

import functools
import os
import shlex
import sys
from pathlib import Path

from core.errors import UserError
from languages import REPOSITORY

RENDEZVOUS_PORTS = range(20000, 30000)  # one of them, by the job's id, so that jobs that share a node do not meet
TAKES_RESUME = ("add_experiment_flags(", "--resume")
# The phase scripts ask for --resume auto by themselves; --overwrite alone must not come a second time.
SHELL_SUFFIX = ".sh"


def check_command(words: list[str], resources: dict) -> None:
    """Refuse what could not run: no script, a script that is not there, a shell script over several nodes."""
    if not words:
        raise UserError("expected a command after --, as in: -- src/trainer_vocoder.py --language satere")
    if Path(words[0]).suffix not in (".py", SHELL_SUFFIX):
        raise UserError(f"{words[0]}: expected a script (.py or .sh) first, as in: -- src/trainer_vocoder.py …")
    if not script_path(words[0]).is_file():
        raise UserError(f"{script_path(words[0])}: expected a script, found none; paths are relative to {REPOSITORY}")
    if words[0].endswith(SHELL_SUFFIX) and resources["nodes"] > 1:
        raise UserError(f"{words[0]}: shell scripts run on one node; submit the Python script behind it, or --nodes 1")


def script_path(word: str) -> Path:
    """Relative to the repository, wherever the command was typed."""
    return Path(word) if Path(word).is_absolute() else REPOSITORY / word


def task_command(job: dict, task: int = 0, *, resume: bool = False) -> list[str]:
    """The words to execute, absolute where they name files of this project."""
    words = resume_words(job["commands"][task]) if resume else job["commands"][task]
    script, flags = str(script_path(words[0])), words[1:]
    if script.endswith(SHELL_SUFFIX):
        return ["bash", script, *flags]
    return [sys.executable, *torchrun_words(job["resources"]), script, *flags]


def torchrun_words(resources: dict) -> list[str]:
    """Nothing for one process; else torchrun, which meets at the first node of Slurm's list where there are several.

    At submission, outside of the job, the variables of Slurm are named rather than filled in.
    """
    if resources["processes"] * resources["nodes"] == 1:
        return []
    words = ["-m", "torch.distributed.run", f"--nproc_per_node={resources['processes']}"]
    if resources["nodes"] == 1:
        return [*words, "--standalone"]
    host, number = first_host(), os.environ.get("SLURM_JOB_ID")
    port = RENDEZVOUS_PORTS[int(number) % len(RENDEZVOUS_PORTS)] if number else "$PORT"
    meeting = ["--rdzv_backend=c10d", f"--rdzv_endpoint={host}:{port}", f"--rdzv_id={number or '$SLURM_JOB_ID'}"]
    return [*words, f"--nnodes={resources['nodes']}", *meeting]


def first_host() -> str:
    """The first host of SLURM_JOB_NODELIST, expanded by submitit ("gpu[03-05],login" -> "gpu03")."""
    if not os.environ.get("SLURM_JOB_NODELIST"):
        return "$FIRST_NODE"
    from submitit.slurm.slurm import SlurmJobEnvironment

    return SlurmJobEnvironment().hostnames[0]


def resume_words(words: list[str]) -> list[str]:
    """The command of a second attempt: goes on where there is something, and overwrites nothing.

    ``--resume PATH`` of the user becomes ``--resume auto`` as well: by now the run has checkpoints of its own.
    """
    if not takes_resume(script_path(words[0])):
        return words
    kept, skip = [words[0]], False
    for position, word in enumerate(words[1:], start=1):
        name = word.partition("=")[0]
        if skip or name == "--overwrite":
            skip = False
            continue
        if name == "--resume":
            following = words[position + 1] if position + 1 < len(words) else "--"
            skip = "=" not in word and not following.startswith("--")
            continue
        kept.append(word)
    return [*kept, "--resume", "auto"]


@functools.cache
def takes_resume(script: Path) -> bool:
    """Whether ``script`` knows --resume, by its text: to run it for its help takes seconds of imports."""
    text = script.read_text(encoding="utf-8")
    if script.suffix == SHELL_SUFFIX:
        return "start_phase " in text and "run_all" not in script.name
    return any(sign in text for sign in TAKES_RESUME)


def show_commands(job: dict) -> str:
    """The exact command of every task, as --dry_run prints it."""
    return "\n".join(f"# task {task}: {shlex.join(task_command(job, task))}" for task in range(len(job["commands"])))


def task_environment(job: dict) -> dict[str, str]:
    """Variables of the task. BACKEND is emptied: a phase script in a job runs, and submits no further one."""
    resources = job["resources"]
    variables = {"PYTHONUNBUFFERED": "1", "BACKEND": "", "ORAL_UNITS_JOB": f"{job['name']}/{job['number']}"}
    variables["NPROC"] = str(resources["processes"])
    variables["OMP_NUM_THREADS"] = str(max(1, resources["cpus"] // resources["processes"]))
    return variables | job["environment"]
