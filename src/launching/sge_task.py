"""A task on a node of Grid Engine: saves when it is told to, asks for another attempt, resumes.

Grid Engine says so with USR1 (the soft limit of the time, or a suspension) and USR2 (before it kills). Exit code 99
puts a job back into the queue. ``-hold_jid`` waits for the end of a job, whatever it is; whether it was a good one is
looked up here.
"""

import sys
import time
from pathlib import Path

from core.exit_codes import EXIT_STOPPED
from core.records import JobRecord
from launching.attempts import (
    count_attempts,
    exit_codes,
    read_attempts,
    run_attempt,
    run_from_command_line,
    skip_task,
    task_progress,
)
from launching.job import job_title, read_job, read_record, resources_of

EXIT_NOT_STARTED = 1
EXIT_GIVEN_UP = 1
PATIENCE_SECONDS = 60  # a file system may show late what another node has written
POLL_SECONDS = 0.5


def run_task(folder: Path, task: int) -> int:
    """The exit code for Grid Engine."""
    job = read_job(folder)
    missing = find_unfinished(job["after"])
    if missing:
        print(f"error: {folder}: not started, since {missing} has not finished with code 0", file=sys.stderr)
        skip_task(folder, task, missing)
        return EXIT_NOT_STARTED
    code = run_attempt(folder, task)
    stopped = read_attempts(folder, task)[-1]["stopped"]
    if code != EXIT_STOPPED and not (stopped and code):
        return code
    requeues = resources_of(job).requeues
    if count_attempts(folder, task) > requeues:
        print(f"error: {folder}: stopped again after {requeues} --requeues", file=sys.stderr)
        return EXIT_GIVEN_UP
    return EXIT_STOPPED


def find_unfinished(records: list[JobRecord]) -> str | None:
    """The first of the jobs that has a task whose exit code is not 0; None where all are done."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    for record in records:
        while set(exit_codes(record)) != {0}:
            if has_ended_badly(record) or time.monotonic() > give_up:
                return job_title(record)
            time.sleep(POLL_SECONDS)
    return None


def has_ended_badly(record: JobRecord) -> bool:
    """Whether a task has failed or was skipped, or the job was cancelled since ``record`` was read."""
    tasks = task_progress(record)
    failed = any(progress.exit_code or progress.event == "skipped" for progress in tasks)
    return failed or "cancelled" in read_record(record["folder"])


if __name__ == "__main__":
    sys.exit(run_from_command_line(run_task))
