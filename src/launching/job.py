"""A job: how it is made, and the folder ``exp/<name>/jobs/<number>/`` in which it leaves its record.

The folder holds ``job.json`` (core.records.Job), ``record.json`` (JobRecord: the job, its ids and what a backend wants
to find again), ``attempts.jsonl`` (what the tasks did, launching/attempts.py) and ``output.log``, for an array
``output_<task>.log``: what the command printed, appended to by every attempt.

Every backend (launching/local.py, slurm.py, sge.py, modal_backend.py) has the same four functions:

- ``describe(job) -> str``: what would be submitted, for ``--dry_run``; changes nothing;
- ``submit(job) -> JobRecord``: hand the job to the engine; the caller made the folder and writes both files;
- ``state(record) -> str``: one of STATES; exit codes are in the attempts;
- ``cancel(record) -> None``: stop what has not ended.
"""

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.files import read_json, write_json
from core.git import ask_git
from core.records import Job, JobRecord
from languages import REPOSITORY, data_root, exp_root

# forgotten: it has ended, and its engine no longer says how; unreachable: its engine cannot be asked now.
STATES = ("pending", "running", "requeued", "finished", "failed", "cancelled", "forgotten", "unreachable", "unknown")
END_STATES = ("finished", "failed", "cancelled", "forgotten")
BACKENDS = ("local", "slurm", "sge", "modal")
CLUSTERS = ("slurm", "sge")
# Handed on to the job where they are set; none of them holds a secret.
INHERITED_VARIABLES = (
    "HF_HOME HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_DATASETS_OFFLINE OMP_NUM_THREADS ORAL_UNITS_WHISPER ORAL_UNITS_LLM "
    "ORAL_UNITS_VENV ORAL_UNITS_TRACEBACK DATA_ARGS PHASE1_ARGS PHASE2_ARGS PHASE3_ARGS TAG TQDM_DISABLE "
    "TRAINING_LANGUAGE EXPERIMENT N_GPUS LARGE_ENCODER FROM_PRETRAINED CONNECTORS FACTORS VIRTUAL_ENV CONDA_PREFIX PATH"
).split()
# A cluster's own: where its libraries lie, how it reaches the network, how its GPUs reach each other. A rented machine
# has others.
INHERITED_ON_CLUSTERS = ("LD_LIBRARY_PATH", "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
INHERITED_FAMILIES = ("NCCL_", "GLOO_", "UCX_", "FI_")
PASSWORD_IN_ADDRESS = re.compile(r"://[^/]*@")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Resources(NamedTuple):
    """What a job asks of its engine, read by attribute; core.records.JobResources gives the units."""

    gpus: int = 0
    nodes: int = 1
    processes: int = 1
    cpus: int = 1
    memory_gb: float | None = None
    hours: float | None = 24.0
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    requeues: int = 20
    gpu_type: str | None = None
    engine_args: Sequence[str] = ()


DEFAULT_RESOURCES = Resources()


def make_job(
    name: str,
    commands: Sequence[Sequence[str]],
    *,
    backend: str,
    resources: Resources = DEFAULT_RESOURCES,
    after: Iterable[JobRecord] = (),
    array_parallelism: int = 0,
    environment: dict[str, str] | None = None,
    site: dict[str, object] | None = None,
) -> Job:
    """A job that is not yet on disk: its number is the next free one."""
    if not PLAIN_NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r}: expected letters, digits, '.', '_' and '-' only, beginning with one of the first two"
        )
    number = max((folder_number(folder) for folder in job_folders(name)), default=0) + 1
    return {
        "name": name,
        "number": number,
        "folder": str(jobs_root(name) / f"{number:03d}"),
        "backend": backend,
        "commands": [[str(word) for word in command] for command in commands],
        "array_parallelism": array_parallelism,
        "resources": resources._asdict() | {"engine_args": list(resources.engine_args)},
        "site": site or {},
        "after": list(after),
        "environment": inherited_environment(on_cluster=backend in CLUSTERS) | (environment or {}),
        "submitted": now(),
        "git_commit": ask_git(REPOSITORY, "rev-parse", "HEAD"),
    }


def resources_of(job: Job) -> Resources:
    resources = job["resources"]
    return Resources(**resources | {"engine_args": tuple(resources.get("engine_args", ()))})


def job_title(job: Job) -> str:
    """``satere_vocoder_v4/2``: how the launcher's own commands call a job."""
    return f"{job['name']}/{job['number']}"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def inherited_environment(*, on_cluster: bool = False) -> dict[str, str]:
    """What the command needs to find its code, its data and its packages on another machine of the same file system."""
    found = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    if on_cluster:
        found |= cluster_environment()
    roots = {"DATA_ROOT": str(data_root()), "EXP_ROOT": str(exp_root()), "PYTHONPATH": str(REPOSITORY / "src")}
    roots["PYTHONUTF8"] = "1"  # a node may have another locale
    return found | roots


def cluster_environment() -> dict[str, str]:
    """Libraries, proxies and the settings of NCCL; but not an address with a password, since jobs lie on disk."""
    lower = [name.lower() for name in INHERITED_ON_CLUSTERS]
    found = {
        name: value
        for name, value in os.environ.items()
        if name.lower() in lower or name.startswith(INHERITED_FAMILIES)
    }
    return {name: value for name, value in found.items() if not PASSWORD_IN_ADDRESS.search(value)}


def jobs_root(name: str) -> Path:
    return exp_root() / name / "jobs"


def folder_number(folder: Path) -> int:
    return int(folder.name)


def job_folders(name: str) -> list[Path]:
    """The folders of a name's jobs, oldest first."""
    root = jobs_root(name)
    return sorted((path for path in root.glob("[0-9]*") if path.name.isdigit() and path.is_dir()), key=folder_number)


def create_folder(job: Job) -> Job:
    """Make the job's folder, under the next number where another submission was faster; returns the job with it.

    UserError where ``exp`` cannot be written to: a job there would only fail later, and on another machine.
    """
    folder = Path(job["folder"])
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            break
        except FileExistsError as error:
            if not folder.is_dir():
                raise UserError(f"{folder}: expected a free name, found another file; give another --name") from error
            folder = folder.with_name(f"{folder_number(folder) + 1:03d}")
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be made ({error.strerror}); EXP_ROOT must be writable here and on the nodes"
            ) from error
    return job | {"folder": str(folder), "number": folder_number(folder)}


def write_job(job: Job) -> None:
    write_json(Path(job["folder"]) / "job.json", job)


def write_record(record: JobRecord) -> None:
    write_json(Path(record["folder"]) / "record.json", record)


def read_job(folder: Path) -> Job:
    return read_json(Path(folder) / "job.json")


def read_record(folder: Path) -> JobRecord:
    """The record; that of a submission that was cut short is its job without ids."""
    path = Path(folder) / "record.json"
    return read_json(path) if path.exists() else read_job(folder) | {"ids": []}


def existing_records(name: str) -> list[JobRecord]:
    """The records of a name's jobs, oldest first."""
    return [read_record(folder) for folder in job_folders(name) if (folder / "job.json").exists()]


def find_records(name: str) -> list[JobRecord]:
    """The records of ``name``, oldest first, or with ``name/3`` of its third job alone."""
    plain, _, number = name.partition("/")
    records = [record for record in existing_records(plain) if not number or record["number"] == int(number)]
    if not records:
        raise UserError(f"{jobs_root(plain)}: expected a job '{name}', found none; launch.py status lists the names")
    return records


def engine_folder(job: Job) -> Path:
    """Where the engine's own scripts and messages lie."""
    return Path(job["folder"]) / "engine"


def log_file(record: Job, task: int = 0, node: int = 0) -> Path:
    """Where the command of a task prints to, on every backend; the further nodes of a job have files of their own."""
    suffix = (f"_{task}" if len(record["commands"]) > 1 else "") + (f"_node{node}" if node else "")
    return Path(record["folder"]) / f"output{suffix}.log"


def combine_states(states: Sequence[str]) -> str:
    """The state of an array from those of its tasks: what is still to end, else the worst."""
    for state in ("running", "requeued", "pending", "unreachable", "failed", "cancelled", "unknown", "forgotten"):
        if state in states:
            return state
    return "finished" if states else "unknown"
