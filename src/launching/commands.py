"""The exact command line of a task: interpreter, torchrun where there are several processes, and what resuming adds."""

import functools
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from core.records import Job
from languages import REPOSITORY
from launching.job import CLUSTERS, job_title, resources_of
from launching.site import site_of

RENDEZVOUS_PORTS = range(20000, 30000)  # one of them, by the job's id, so that jobs that share a node do not meet
# What the text of a script that takes --resume holds.
RESUME_SIGN = re.compile(r"""add_experiment_flags\(|add_argument\(\s*["']--resume""")
# The phase scripts ask for --resume auto by themselves; --overwrite alone must not come a second time.
SHELL_SUFFIX = ".sh"


def check_command(words: list[str], n_nodes: int = 1) -> None:
    """Refuse what could not run: no script, a script that is not there, a shell script over several nodes."""
    if not words:
        raise UserError("expected a command after --, as in: -- src/trainer_vocoder.py --language satere")
    if Path(words[0]).suffix not in (".py", SHELL_SUFFIX):
        raise UserError(f"{words[0]}: expected a script (.py or .sh) first, as in: -- src/trainer_vocoder.py …")
    if not script_path(words[0]).is_file():
        raise UserError(f"{script_path(words[0])}: expected a script, found none; paths are relative to {REPOSITORY}")
    if words[0].endswith(SHELL_SUFFIX) and n_nodes > 1:
        raise UserError(f"{words[0]}: shell scripts run on one node; submit the Python script behind it, or --nodes 1")


def script_path(word: str) -> Path:
    """Relative to the repository, wherever the command was typed."""
    return Path(word) if Path(word).is_absolute() else REPOSITORY / word


def task_command(job: Job, task: int = 0, *, resume: bool = False) -> list[str]:
    """The words to execute for a task of ``job``."""
    words, resources, site = job["commands"][task], resources_of(job), site_of(job)
    words = resume_words(words) if resume else words
    if not site.container:
        return executed_words(words, resources.processes, resources.nodes)
    inside = executed_words(words, resources.processes, resources.nodes, python=site.container_python)
    return [*shlex.split(site.container), *inside]


def executed_words(words: list[str], n_processes: int, n_nodes: int = 1, *, python: str = sys.executable) -> list[str]:
    """What a person types, from the script on -> the words to execute, absolute where they name files of this project.

    ``n_processes``: per node.
    """
    script, flags = str(script_path(words[0])), words[1:]
    if script.endswith(SHELL_SUFFIX):
        return ["bash", script, *flags]
    return [python, *torchrun_words(n_processes, n_nodes), script, *flags]


def torchrun_words(n_processes: int, n_nodes: int = 1) -> list[str]:
    """Nothing for one process; else torchrun, which meets at the first node of Slurm's list where there are several.

    At submission, outside of the job, the variables of Slurm are named rather than filled in.
    """
    if n_processes * n_nodes == 1:
        return []
    words = ["-m", "torch.distributed.run", f"--nproc_per_node={n_processes}"]
    if n_nodes == 1:
        return [*words, "--standalone"]
    host, number = first_host(), os.environ.get("SLURM_JOB_ID")
    port = RENDEZVOUS_PORTS[int(number) % len(RENDEZVOUS_PORTS)] if number else "$PORT"
    meeting = ["--rdzv_backend=c10d", f"--rdzv_endpoint={host}:{port}", f"--rdzv_id={number or '$SLURM_JOB_ID'}"]
    return [*words, f"--nnodes={n_nodes}", *meeting]


def first_host() -> str:
    """The first host of SLURM_JOB_NODELIST, expanded by submitit ("gpu[03-05],login" -> "gpu03")."""
    if not os.environ.get("SLURM_JOB_NODELIST"):
        return "$FIRST_NODE"
    from submitit.slurm.slurm import SlurmJobEnvironment

    return SlurmJobEnvironment().hostnames[0]


def flag_value(words: Sequence[str], name: str, default: str = "") -> str:
    """The last value of ``--name value`` or ``--name=value``, - and _ alike."""
    value = default
    for number, word in enumerate(words):
        flag, equals, given = word.partition("=")
        if word.startswith("--") and flag[2:].replace("-", "_") == name:
            value = given if equals else "".join(words[number + 1 : number + 2])
    return value


def experiment_name(words: Sequence[str]) -> str:
    """The name of the experiment folder that a command gives with --exp (or its old name --out_dir); or empty."""
    return Path(flag_value(words, "exp") or flag_value(words, "out_dir")).name


def resume_words(words: list[str]) -> list[str]:
    """The command of a second attempt: it continues where it can, and overwrites nothing.

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
    return bool(RESUME_SIGN.search(text))


def show_commands(job: Job) -> str:
    """The exact command of every task, as --dry_run prints it."""
    return "\n".join(f"# task {task}: {shlex.join(task_command(job, task))}" for task in range(len(job["commands"])))


def export_lines(job: Job) -> list[str]:
    """The job's variables, as its script sets them before the site's own lines."""
    return [f"export {name}={shlex.quote(value)}" for name, value in job["environment"].items()]


def task_environment(job: Job, current: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of the task. BACKEND is emptied: a phase script in a job runs, and submits no further one.

    ``current``: those of the process that starts it. On a cluster they hold over the job's, which stand in its script:
    the site's own lines ("module load …") came after that.
    """
    resources, inherited = resources_of(job), job["environment"]
    if job["backend"] in CLUSTERS and current is not None:
        inherited = {name: current.get(name, value) for name, value in inherited.items()}
    variables = {
        "PYTHONUNBUFFERED": "1",
        "BACKEND": "",
        "ORAL_UNITS_JOB": job_title(job),
        "NPROC": str(resources.processes),
        "OMP_NUM_THREADS": str(max(1, resources.cpus // resources.processes)),
    }
    if resources.gpus or job["backend"] in CLUSTERS:  # for the job scripts (train*.sh), which take one by themselves
        variables["N_GPUS"] = str(resources.gpus)
    return variables | inherited
