"""Modal, through ``python -m modal run`` on scripts/modal_run.py: what launch.py needs of it, and no more.

The GPU's name is what --constraint says, as in ``--gpus 2 --constraint H100``.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from core.errors import UserError
from core.files import read_json
from core.records import Job, JobRecord
from languages import REPOSITORY
from launching.job import Resources, combine_states, engine_folder, resources_of
from launching.modal_flags import MAX_RETRIES

NOT_ON_MODAL = ("partition", "account")


def describe(job: Job) -> str:
    return shlex.join(_client_words(job))


def submit(job: Job) -> JobRecord:
    """Runs the client until it has submitted; the ids are those of the calls."""
    words = _client_words(job)
    done = subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")})
    if done.returncode:
        raise UserError(f"{shlex.join(words[1:4])}: ended with code {done.returncode}; what it says stands above")
    return {**job, "ids": read_json(_call_file(job))["calls"]}


def _call_file(job: Job) -> Path:
    """Where scripts/modal_run.py writes the ids of its calls."""
    return engine_folder(job) / "calls.json"


def _client_words(job: Job) -> list[str]:
    """The command line of Modal's client."""
    resources, (command, *further) = resources_of(job), job["commands"]
    _check(resources, has_predecessors=bool(job["after"]), is_array=bool(further))
    words = [sys.executable, "-m", "modal", "run", "--detach", f"{REPOSITORY / 'scripts' / 'modal_run.py'}::main"]
    if resources.gpus:
        words += ["--gpu", f"{resources.constraint}:{resources.gpus}"]
    words += ["--processes", str(resources.processes), "--cpus", str(resources.cpus)]
    if resources.memory_gb:
        words += ["--memory_gb", str(resources.memory_gb)]
    words += ["--hours", str(resources.hours), "--retries", str(min(resources.requeues, MAX_RETRIES))]
    return [*words, "--no_wait", "--call_file", str(_call_file(job)), "--", *command]


def _check(resources: Resources, *, has_predecessors: bool, is_array: bool) -> None:
    """Refuse what Modal has no means for."""
    given = [f"--{name}" for name in NOT_ON_MODAL if getattr(resources, name)]
    if given or resources.nodes > 1:
        raise UserError(f"{', '.join(given or ['--nodes'])}: Modal has none; leave them out")
    if has_predecessors:
        raise UserError("--after: Modal has no dependencies; submit scripts/run_all.sh as one job, or wait")
    if resources.gpus and not resources.constraint:
        raise UserError("--gpus: expected the name of the GPU in --constraint on Modal, as in --constraint H100")
    if is_array:
        raise UserError("--shards: on Modal, use scripts/modal_run.py::phase1 --shards N")


def state(record: JobRecord) -> str:
    return combine_states([_call_state(number) for number in record["ids"]])


def _call_state(number: str) -> str:
    import modal

    try:
        modal.FunctionCall.from_id(number).get(timeout=0)
        return "finished"
    except TimeoutError:
        return "running"
    except modal.exception.InputCancellation:
        return "cancelled"
    except modal.exception.AuthError as error:
        raise UserError(f"Modal refuses: {error}; set a token: python -m modal token new") from error
    except modal.exception.Error:
        return "failed"


def cancel(record: JobRecord) -> None:
    import modal

    for number in record["ids"]:
        modal.FunctionCall.from_id(number).cancel()
