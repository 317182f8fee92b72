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
from languages import REPOSITORY
from launching.job import combine_states

NOT_HERE = ("partition", "account")


def describe(job: dict) -> str:
    return shlex.join(_client_words(job))


def submit(job: dict) -> dict:
    """Runs the client until it has submitted; the ids are those of the calls."""
    words = _client_words(job)
    done = subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")})
    if done.returncode:
        raise UserError(f"{shlex.join(words[1:4])}: ended with code {done.returncode}; what it says stands above")
    calls = read_json(_call_file(job))
    return job | {"ids": [str(number) for number in _call_ids(calls)]}


def _call_file(job: dict) -> Path:
    return Path(job["folder"]) / "engine" / "calls.json"


def _call_ids(calls: dict | list) -> list[str]:
    found = calls.get("calls", calls) if isinstance(calls, dict) else calls
    return list(found.values()) if isinstance(found, dict) else list(found)


def _client_words(job: dict) -> list[str]:
    """The command line of Modal's client."""
    resources = job["resources"]
    given = [f"--{name}" for name in NOT_HERE if resources[name]]
    if given or resources["nodes"] > 1:
        raise UserError(f"{', '.join(given or ['--nodes'])}: Modal has none; leave them out")
    if job["after"]:
        raise UserError("--after: Modal has no dependencies; submit scripts/run_all.sh as one job, or wait")
    if resources["gpus"] and not resources["constraint"]:
        raise UserError("--gpus: expected the name of the GPU in --constraint on Modal, as in --constraint H100")
    if len(job["commands"]) > 1:
        raise UserError("--shards: on Modal, use scripts/modal_run.py::phase1 --shards N")
    words = [sys.executable, "-m", "modal", "run", "--detach", f"{REPOSITORY / 'scripts' / 'modal_run.py'}::main"]
    if resources["gpus"]:
        words += ["--gpu", f"{resources['constraint']}:{resources['gpus']}"]
    words += ["--processes", str(resources["processes"]), "--cpus", str(resources["cpus"])]
    if resources["memory_gb"]:
        words += ["--memory_gb", str(resources["memory_gb"])]
    words += ["--hours", str(resources["hours"]), "--retries", str(min(resources["requeues"], 10))]
    return [*words, "--no_wait", "--call_file", str(_call_file(job)), "--", *job["commands"][0]]


def state(record: dict) -> str:
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


def cancel(record: dict) -> None:
    import modal

    for number in record["ids"]:
        modal.FunctionCall.from_id(number).cancel()
