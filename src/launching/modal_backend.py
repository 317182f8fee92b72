"""Modal, through ``python -m modal run`` on scripts/modal_run.py: what launch.py needs of it, and no more.

The GPU's name is what --constraint says, as in ``--gpus 2 --constraint H100``.
"""

import contextlib
import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

from core.errors import UserError
from core.files import read_json
from core.records import AttemptRow, Job, JobRecord
from languages import REPOSITORY
from launching.attempts import append_row, task_progress
from launching.job import Resources, combine_states, engine_folder, now, resources_of
from launching.modal_calls import CallAnswer, ask_call, cancel_call, stage_calls
from launching.modal_flags import MAX_RETRIES

NOT_ON_MODAL = ("partition", "account")


def describe(job: Job) -> str:
    return shlex.join(_client_words(job))


def submit(job: Job, *, take_over: bool = False) -> JobRecord:
    """Runs the client until it has submitted; the ids are those of the calls.

    take_over: stop whatever call still writes to the folder (scripts/modal_run.py --take_over).
    """
    words = _client_words(job, take_over=take_over)
    done = subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")})
    if done.returncode:
        raise UserError(f"{shlex.join(words[1:4])}: ended with code {done.returncode}; what it says stands above")
    return {**job, **_submitted(job)}


def _submitted(job: Job) -> dict[str, object]:
    """The ids of the job's calls and of their app, and how many stages they have, as the client has written down."""
    path = _call_file(job)
    found = read_json(path) if path.exists() else {}
    return {"ids": found.get("calls", []), "app_id": found.get("app_id"), "n_stages": found.get("n_stages", 0)}


def _call_file(job: Job) -> Path:
    """Where scripts/modal_run.py writes the ids of its calls."""
    return engine_folder(job) / "calls.json"


def _client_words(job: Job, *, take_over: bool = False) -> list[str]:
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
    words += ["--take_over"] if take_over else []
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
    """What the attempts say, for Modal forgets after a week how a call ended; else what Modal says."""
    numbers = call_ids(record)
    if not numbers:
        return "unknown"
    (progress,) = task_progress(record)
    if progress.event == "ended":
        return "finished" if progress.exit_code == 0 else "cancelled" if "cancelled" in record else "failed"
    answers = [ask_call(number) for number in numbers]
    for answer in answers:
        if answer.state in ("unreachable", "unknown"):
            _warn_once(answer.reason)
    states = [_state_of(answer) for answer in answers]
    if len(answers) == 1 and answers[0].state in ("finished", "failed"):
        _keep_attempts(record, answers[0])
    if "cancelled" in record and states[0] in ("failed", "forgotten"):
        return "cancelled"
    return combine_states(states)


@functools.cache
def _warn_once(reason: str) -> None:
    print(f"warning: Modal: {reason}", file=sys.stderr)


def call_ids(record: JobRecord) -> list[str]:
    """The job's calls; those of a launch.py that was cut short stand in the client's own file."""
    return record["ids"] or _submitted(record)["ids"]


def logged_calls(record: JobRecord) -> list[str]:
    """The calls that print what the scripts print: those of a chain's stages that have begun, else the job's own."""
    numbers = call_ids(record)
    n_stages = record.get("n_stages") or _submitted(record)["n_stages"]
    return [made for number in numbers for made in stage_calls(number, n_stages)] if n_stages else numbers


def _state_of(answer: CallAnswer) -> str:
    """A call may end well and return the exit code of a script that did not."""
    return "failed" if answer.state == "finished" and _exit_code(answer) else answer.state


def _exit_code(answer: CallAnswer) -> int:
    """Of the last attempt; 1 where nobody knows it. Calls of older versions of this code return the code alone."""
    if isinstance(answer.value, dict):
        return answer.value["exit_code"]
    return answer.exit_code or (answer.value if isinstance(answer.value, int) else 1)


def _keep_attempts(record: JobRecord, answer: CallAnswer) -> None:
    """Write down what Modal says of a call that has ended: it forgets. Where the folder is another's, ask again."""
    rows: list[AttemptRow] = answer.value["rows"] if isinstance(answer.value, dict) else []
    if not rows or rows[-1]["event"] != "ended":
        reason = {"reason": answer.reason} if answer.reason else {}
        row = {"task": 0, "event": "ended", "at": now(), "exit_code": _exit_code(answer), "stopped": False}
        rows = [*rows, row | reason]
    with contextlib.suppress(OSError):
        for row in rows:
            append_row(record["folder"], row)


def cancel(record: JobRecord) -> None:
    for number in call_ids(record):
        cancel_call(number)
