"""What git says of the repository; nothing where git is not installed, as on many compute nodes and in containers."""

import subprocess
from pathlib import Path


def ask_git(repository: Path, *words: str) -> str | None:
    """What ``git <words>`` prints about ``repository``; None where there is no git, no repository, or no answer."""
    command = ["git", "-C", str(repository), *words]
    try:
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
