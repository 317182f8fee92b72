"""What launch.py shows of jobs: a table of their states, and the ends of their logs."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from core.records import JobRecord
from languages import exp_root
from launching.attempts import count_attempts, exit_codes
from launching.backends import state_of
from launching.job import END_STATES, find_records, job_title
from launching.modal_account import APP

FOLLOW_SECONDS = 0.5


def all_names() -> list[str]:
    """The experiments that have jobs, those of the newest job last."""
    folders = [path for path in exp_root().glob("*/jobs") if any(path.glob("*/job.json"))]
    return [path.parent.name for path in sorted(folders, key=lambda path: path.stat().st_mtime)]


def show_status(names: list[str]) -> None:
    rows = [("job", "backend", "state", "exit", "attempts", "submitted", "id", "command")]
    for name in names or all_names():
        rows += [status_row(record) for record in find_records(name)]
    if len(rows) == 1:
        print(f"no jobs in {exp_root()}")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]))


def status_row(record: JobRecord) -> tuple[str, ...]:
    """``exit`` counts the codes of an array, as in 0×7 3×1."""
    codes = exit_codes(record)
    known = sorted({code for code in codes if code is not None})
    shown = str(codes[0]) if known and len(codes) == 1 else " ".join(f"{code}×{codes.count(code)}" for code in known)
    ids = record["ids"]
    command = shlex.join(record["commands"][0]) + (f"  (and {len(codes) - 1} more)" if len(codes) > 1 else "")
    return (
        job_title(record),
        record["backend"],
        state_of(record),
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
            subprocess.run([sys.executable, "-m", "modal", "app", "logs", APP, *(["-f"] if follow else [])], check=True)
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
