"""What Slurm's and Grid Engine's own programs (squeue, qstat, …) say, with patience for a server that is busy."""

import shutil
import subprocess

from core.errors import UserError

CLIENT_SECONDS = 60


def call_client(*command: str) -> subprocess.CompletedProcess:
    """Run a client to its end, whatever its exit code; UserError where it is missing or does not answer.

    Other people's jobs stand in the answers as well, in whatever encoding their names have.
    """
    try:
        return subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace", timeout=CLIENT_SECONDS
        )
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{command[0]}: cannot be run here ({reason}); use a machine that submits jobs") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]}: no answer in {CLIENT_SECONDS} s; is the engine's master running?") from error


def ask(*command: str) -> str:
    """What a client prints; nothing where it is missing, fails (an id that is forgotten, no accounts) or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = call_client(*command)
    except UserError:
        return ""
    return done.stdout if done.returncode == 0 else ""
