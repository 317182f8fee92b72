"""The engines by name. Each is a module with describe, submit, state and cancel (launching/job.py)."""

import importlib
import shutil
from types import ModuleType

from core.records import JobRecord

MODULE_OF_BACKEND = {"local": "local", "slurm": "slurm", "sge": "sge", "modal": "modal_backend"}


def backend_of(name: str) -> ModuleType:
    """Imported on first use: the libraries of engines that are not wanted take seconds."""
    return importlib.import_module(f"launching.{MODULE_OF_BACKEND[name]}")


def choose_backend(name: str) -> str:
    """Modal only when it is asked for."""
    if name != "auto":
        return name
    return "slurm" if shutil.which("sbatch") else "sge" if shutil.which("qsub") else "local"


def state_of(record: JobRecord) -> str:
    return backend_of(record["backend"]).state(record)
