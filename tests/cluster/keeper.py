"""Keeps a real engine running as long as a run of the tests: keeper.py slurm|sge FILE PID.

It starts the engine, writes the variables of its clients to FILE, and stops it once the process PID has ended. Apart
from pytest, so that all processes of a run share one engine, and that it stops however they end.
"""

import json
import os
import select
import signal
import sys
import tempfile
from pathlib import Path

from engines import running_slurm
from grid_engine import running_grid_engine

RUNNING = {"slurm": running_slurm, "sge": running_grid_engine}


def main() -> None:
    name, said, tests = sys.argv[1], Path(sys.argv[2]), os.pidfd_open(int(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Sockets want short paths, shorter than pytest's own folders.
    with tempfile.TemporaryDirectory(prefix=f"{name}_", ignore_cleanup_errors=True) as root:
        folder = Path(root) / "engine"
        try:
            with RUNNING[name](folder) as env:
                temporary = said.with_suffix(".tmp")
                temporary.write_text(json.dumps(env))
                temporary.replace(said)
                select.select([tests], [], [])
        finally:
            kill_users(folder)


def kill_users(folder: Path) -> None:
    """What jobs have left behind: the processes in whose environment the engine's folder stands."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if bytes(folder) in path.read_bytes() and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended by itself


if __name__ == "__main__":
    main()
