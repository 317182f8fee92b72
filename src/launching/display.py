"""What launch.py shows of jobs: a table of their states, and the ends of their logs."""

import shlex
import time
from pathlib import Path

from core.errors import UserError
from core.records import JobRecord
from languages import exp_root
from launching.attempts import count_attempts, exit_codes
from launching.backends import failed_tasks, state_of
from launching.job import END_STATES, find_records, job_title, log_file

FOLLOW_SECONDS = 0.5


def all_names() -> list[str]:
    """The experiments that have jobs, those of the newest job last."""
    folders = [path for path in exp_root().glob("*/jobs") if any(path.glob("*/job.json"))]
    return [path.parent.name for path in sorted(folders, key=lambda path: path.stat().st_mtime)]


def show_status(names: list[str]) -> None:
    rows = [("job", "backend", "state", "exit", "attempts", "submitted", "id", "command")]
    records = [record for name in names or all_names() for record in find_records(name)]
    rows += [status_row(record) for record in records]
    if len(rows) == 1:
        print(f"no jobs in {exp_root()}")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]))
    for record, row in zip(records, rows[1:]):
        if len(record["commands"]) > 1 and row[2] not in ("finished", "pending"):
            print_failures(record)


def print_failures(record: JobRecord) -> None:
    """Which tasks of an array have failed, by exit code, and the command that runs the first of them again."""
    failed = failed_tasks(record)
    if not failed:
        return
    codes = sorted(set(failed.values()), key=lambda code: (code is None, code))
    said = [_tasks_with(code, failed) for code in codes]
    first = min(failed)
    command = shlex.join(record["commands"][first])
    print(f"{job_title(record)}: failed tasks: {', '.join(said)}; see {log_file(record, first)}")
    print(f"  run task {first} again: python scripts/launch.py submit --name {record['name']} -- {command}")


def _tasks_with(code: int | None, failed: dict[int, int | None]) -> str:
    reason = "no exit code: killed, or out of memory" if code is None else f"exit code {code}"
    return f"{as_ranges([task for task in failed if failed[task] == code])} ({reason})"


def as_ranges(numbers: list[int]) -> str:
    """[1, 3, 4, 5] -> "1, 3-5"."""
    runs = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def status_row(record: JobRecord) -> tuple[str, ...]:
    """``exit`` counts the codes of an array, as in 0×7 3×1."""
    state = state_of(record)  # first: Modal's answer may hold the exit codes
    codes = exit_codes(record)
    known = sorted({code for code in codes if code is not None})
    shown = str(codes[0]) if known and len(codes) == 1 else " ".join(f"{code}×{codes.count(code)}" for code in known)
    ids = record["ids"]
    command = shlex.join(record["commands"][0]) + (f"  (and {len(codes) - 1} more)" if len(codes) > 1 else "")
    return (
        job_title(record),
        record["backend"],
        state,
        shown or "-",
        str(count_attempts(record["folder"])),
        record["submitted"][:16],
        ids[0].partition("_")[0] if ids else "-",
        command,
    )


def show_logs(names: list[str], *, lines: int, follow: bool) -> None:
    """The end of what the newest job printed, and of the engine's own messages where it ended badly."""
    for name in names:
        record = find_records(name)[-1]
        if record["backend"] == "modal":  # which keeps what is printed
            show_modal_log(record, lines=lines, follow=follow)
            continue
        shown = {}
        while True:
            state = state_of(record)
            for path in log_files(record, state):
                shown[path] = print_log(path, shown.get(path), lines)
            if not follow or state in END_STATES:
                break
            time.sleep(FOLLOW_SECONDS)
        if not shown:
            print(f"{record['folder']}: {state}; nothing printed yet")


def show_modal_log(record: JobRecord, *, lines: int, follow: bool) -> None:
    """What Modal kept of the job's calls, of a chain's stages one after the other, and how it ended.

    ``follow`` prints each until it ends, then what the next stage prints; a job that has ended is not followed.
    """
    from launching.modal_backend import call_ids, logged_calls
    from launching.modal_calls import print_call_log

    if not call_ids(record):
        raise UserError(f"{record['folder']}: the submission was cut short; no call, no log")
    shown = []
    while True:
        state = state_of(record)
        goes_on = follow and state not in END_STATES
        for number in logged_calls(record):
            if number not in shown:
                shown.append(number)
                print_call_log(number, lines=lines, follow=goes_on)
        if not goes_on:
            break
        time.sleep(FOLLOW_SECONDS)
    codes = [str(code) for code in exit_codes(record) if code is not None]
    print(f"{job_title(record)}: {state}{', exit code ' if codes else ''}{' '.join(codes)}")


def log_files(record: JobRecord, state: str) -> list[Path]:
    folder = Path(record["folder"])
    own = sorted(folder.glob("output*.log"))
    engine = [path for suffix in ("log", "err") for path in sorted(folder.glob(f"engine/*.{suffix}"))]
    if state not in ("failed", "unknown"):
        engine = []
    return [path for path in own + engine if path.stat().st_size]


def print_log(path: Path, position: int | None, lines: int) -> int:
    """Print the last ``lines``, or what has come since ``position``; returns the position (bytes) of the end."""
    with open(path, "rb") as stream:
        stream.seek(position or 0)
        text = stream.read().decode(errors="replace")
        end = stream.tell()
    if position is None:
        print(f"==> {path} <==")
        text = "".join(text.splitlines(keepends=True)[-lines:])
    print(text, end="", flush=True)
    return end
