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

import psutil

from core.errors import UserError
from core.records import Job, JobRecord
from languages import REPOSITORY
from launching.attempts import skip_task, task_progress
from launching.commands import show_commands
from launching.job import END_STATES, engine_folder, job_title, read_job, read_record, resources_of

POLL_SECONDS = 0.2
NEEDS_SCHEDULER = ("memory_gb", "partition", "account", "constraint")  # nothing on one machine obeys them


def describe(job: Job) -> str:
    check(job)
    waits = " ".join(job_title(record) for record in job["after"])
    return "# in the background, on this machine" + (f", after {waits}" if waits else "") + f"\n{show_commands(job)}"


def check(job: Job) -> None:
    """Refuse what one machine cannot obey."""
    resources = resources_of(job)
    given = [f"--{name.removesuffix('_gb')}" for name in NEEDS_SCHEDULER if getattr(resources, name)]
    if resources.nodes > 1:
        given.append("--nodes")
    if given:
        raise UserError(f"{', '.join(given)}: this machine has no scheduler that would obey; leave them out")


def submit(job: Job) -> JobRecord:
    """Start the background process; its id is that of the process."""
    check(job)
    engine = engine_folder(job)
    engine.mkdir()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    with open(engine / "background.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "launching.local", job["folder"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    started = _start_time(process.pid)
    return job | {"ids": [str(process.pid)], "started": _as_text(started) if started else None}


def _start_time(pid: int) -> float | None:
    """When a living process started, seconds since 1970: tells it from a later one of its number. None: not alive."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _as_text(seconds: float) -> str:
    """As records have it, and as ps says it: "Sat Nov 28 18:43:22 2026", local time."""
    return " ".join(time.ctime(seconds).split())


def living_process(record: JobRecord) -> int | None:
    """The number of the job's background process; None where it has ended."""
    for number in map(int, record["ids"]):
        started = _start_time(number)
        # A clock that is set right moves the start by a moment, and ps rounds differently.
        if started and record["started"] in [_as_text(started + second) for second in (-1, 0, 1)]:
            return number
    return None


def state(record: JobRecord) -> str:
    # Asked before the attempts are read: a process that ends in between has left its last row.
    is_alive = living_process(record) is not None
    tasks = task_progress(record)
    if is_alive:
        return "running" if any(progress.event for progress in tasks) else "pending"
    if all(progress.exit_code == 0 for progress in tasks):
        return "finished"
    if "cancelled" in record or any(progress.event == "skipped" for progress in tasks):
        return "cancelled"
    return "failed" if record["ids"] else "unknown"


def cancel(record: JobRecord) -> None:
    """SIGTERM to the background process, which hands it on and ends when its tasks have saved and ended."""
    if process := living_process(record):
        os.kill(process, signal.SIGTERM)


def run_job(folder: Path) -> int:
    """Wait, then run the tasks, as many at a time as the job says; the first exit code that is not 0."""
    job, signals = read_job(folder), []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: signals.append(caught))
    missing = wait_for_predecessors(job["after"], signals)
    if missing or signals:
        skip_task(folder, 0, missing or "cancelled")
        return 1
    resources, n_tasks = resources_of(job), len(job["commands"])
    at_once = job["array_parallelism"] or max(1, (os.cpu_count() or 1) // resources.cpus)
    codes = run_tasks(folder, n_tasks, at_once=at_once, hours=resources.hours, signals=signals)
    return next((code for code in codes if code), 0)


def wait_for_predecessors(records: list[JobRecord], signals: list[int]) -> str | None:
    """None once all have finished, or where ``signals`` has received one; else the job that failed or was cancelled."""
    for record in records:
        while not signals:
            current = read_record(record["folder"])
            if current["ids"] and (ended := state(current)) in END_STATES:
                if ended != "finished":
                    return f"{job_title(current)} {ended}"
                break
            time.sleep(POLL_SECONDS)
    return None


def run_tasks(folder: Path, n_tasks: int, *, at_once: int, hours: float | None, signals: list[int]) -> list[int]:
    """The exit codes of the tasks that were started, ``at_once`` of them at a time.

    A signal, which its handler appends to ``signals``, or the end of ``hours`` stops them and starts no more.
    """
    waiting, running, codes = list(range(n_tasks)), [], []
    give_up = time.monotonic() + hours * 3600 if hours else float("inf")
    handed_on = False
    while running or (waiting and not signals):
        while waiting and len(running) < at_once and not signals:
            running.append(start_task(folder, waiting.pop(0)))
        if time.monotonic() > give_up and not signals:
            print(f"--hours {hours}: time is up", file=sys.stderr)
            signals.append(signal.SIGTERM)
        if signals and not handed_on:
            handed_on = True
            for process in running:
                process.terminate()
        codes += [process.returncode for process in running if process.poll() is not None]
        running = [process for process in running if process.returncode is None]
        time.sleep(POLL_SECONDS)
    return codes


def start_task(folder: Path, task: int) -> subprocess.Popen:
    """In a process group of its own, so that a signal to this process's group does not reach it as well."""
    return subprocess.Popen([sys.executable, "-m", "launching.attempts", str(folder), str(task)], process_group=0)


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1])))
