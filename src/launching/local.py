"""This machine: a job is a process in the background that outlives the shell it was submitted from.

``python -m launching.local FOLDER`` is that process. It waits for the jobs that this one comes after, runs the tasks,
and hands SIGTERM on to them.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.errors import UserError
from languages import REPOSITORY
from launching.attempts import append_row, exit_codes, read_attempts
from launching.commands import show_commands
from launching.job import ENDED, now, read_job, read_record

POLL_SECONDS = 0.2
NOT_HERE = ("memory_gb", "partition", "account", "constraint")  # nothing on one machine obeys them


def describe(job: dict) -> str:
    check(job)
    waits = " ".join(f"{record['name']}/{record['number']}" for record in job["after"])
    return "# in the background, on this machine" + (f", after {waits}" if waits else "") + f"\n{show_commands(job)}"


def check(job: dict) -> None:
    """Refuse what one machine cannot obey."""
    resources = job["resources"]
    given = [f"--{name.removesuffix('_gb')}" for name in NOT_HERE if resources[name]]
    if resources["nodes"] > 1:
        given.append("--nodes")
    if given:
        raise UserError(f"{', '.join(given)}: this machine has no scheduler that would obey; leave them out")


def submit(job: dict) -> dict:
    """Start the background process; its id is that of the process."""
    check(job)
    folder = Path(job["folder"])
    (folder / "engine").mkdir()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    with open(folder / "engine" / "background.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "launching.local", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return job | {"ids": [str(process.pid)], "started": _start_time(process.pid)}


def _start_time(pid: int) -> str | None:
    """When a living process started, as ps says it: tells it from a later one of the same number. None: not alive."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    words = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    return " ".join(words[1:]) if words and not words[0].startswith("Z") else None


def is_alive(record: dict) -> bool:
    return bool(record["ids"]) and _start_time(int(record["ids"][0])) == record["started"] is not None


def state(record: dict) -> str:
    rows = read_attempts(Path(record["folder"]))
    if is_alive(record):
        return "running" if rows else "pending"
    codes = exit_codes(record)
    if codes and all(code == 0 for code in codes):
        return "finished"
    if record.get("cancelled") or any(row["event"] == "skipped" for row in rows):
        return "cancelled"
    return "failed" if record["ids"] else "unknown"


def cancel(record: dict) -> None:
    """SIGTERM to the background process, which hands it on and ends when its tasks have saved and ended."""
    if is_alive(record):
        os.kill(int(record["ids"][0]), signal.SIGTERM)


def run_job(folder: Path) -> int:
    """Wait, then run the tasks, as many at a time as the job says; the first exit code that is not 0."""
    job, told = read_job(folder), []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: told.append(caught))
    missing = wait_for_predecessors(job, told)
    if missing or told:
        append_row(folder, {"task": 0, "event": "skipped", "at": now(), "reason": missing or "cancelled"})
        return 1
    codes = run_tasks(job, told)
    return next((code for code in codes if code), 0)


def wait_for_predecessors(job: dict, told: list[int]) -> str | None:
    """None once all have finished, else the one that has failed or was cancelled."""
    for waited_for in job["after"]:
        while not told:
            current = read_record(Path(waited_for["folder"]))
            if current["ids"] and (ended := state(current)) in ENDED:
                if ended != "finished":
                    return f"{current['name']}/{current['number']} {ended}"
                break
            time.sleep(POLL_SECONDS)
    return None


def run_tasks(job: dict, told: list[int]) -> list[int]:
    """The exit codes of the tasks that were started. A signal, or the end of --hours, stops them and starts no more."""
    waiting, running, codes = list(range(len(job["commands"]))), [], []
    at_once = job["array_parallelism"] or max(1, (os.cpu_count() or 1) // job["resources"]["cpus"])
    hours = job["resources"]["hours"]
    give_up = time.monotonic() + hours * 3600 if hours else float("inf")
    handed_on = False
    while running or (waiting and not told):
        while waiting and len(running) < at_once and not told:
            command = [sys.executable, "-m", "launching.attempts", job["folder"], str(waiting.pop(0))]
            running.append(subprocess.Popen(command, process_group=0))
        if time.monotonic() > give_up and not told:
            print(f"--hours {hours}: time is up", file=sys.stderr)
            told.append(signal.SIGTERM)
        if told and not handed_on:
            handed_on = True
            for process in running:
                process.terminate()
        codes += [process.returncode for process in running if process.poll() is not None]
        running = [process for process in running if process.returncode is None]
        time.sleep(POLL_SECONDS)
    return codes


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1])))
