"""The engines by name. Each is a module with describe, submit, state and cancel (launching/job.py)."""

import importlib
import shutil
from types import ModuleType

from core.errors import UserError
from core.records import JobRecord
from launching.attempts import task_progress
from launching.job import CLUSTERS

MODULE_OF_BACKEND = {"local": "local", "slurm": "slurm", "sge": "sge", "modal": "modal_backend"}
PBS_CLIENT = "pbsnodes"  # PBS has a qsub as well, which reads none of Grid Engine's options


def backend_of(name: str) -> ModuleType:
    """Imported on first use: the libraries of engines that are not wanted take seconds."""
    return importlib.import_module(f"launching.{MODULE_OF_BACKEND[name]}")


def choose_backend(name: str) -> str:
    """Modal only when it is asked for. Slurm's package has a qsub and a pbsnodes as well, so Slurm comes first."""
    if name not in ("auto", "sge"):
        return name
    if name == "auto" and shutil.which("sbatch"):
        return "slurm"
    if shutil.which("qsub") and shutil.which(PBS_CLIENT) and not shutil.which("qconf"):
        raise UserError(
            "qsub: expected Grid Engine's, found that of PBS, which is not supported; "
            "see docs/launching.md#pbs, or give --backend local inside a job of yours"
        )
    return "sge" if name == "sge" or shutil.which("qsub") else "local"


def state_of(record: JobRecord) -> str:
    return backend_of(record["backend"]).state(record)


def failed_tasks(record: JobRecord) -> dict[int, int | None]:
    """Task -> exit code of those that have failed; None where the command left none: killed, or out of memory."""
    progress = task_progress(record)
    if record["backend"] in CLUSTERS:
        states = backend_of(record["backend"]).task_states(record)
        failed = [task for task, state in enumerate(states) if state == "failed"]
    else:
        failed = [task for task, one in enumerate(progress) if one.exit_code]
    return {task: progress[task].exit_code for task in failed}
