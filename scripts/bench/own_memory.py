"""How much memory another process has of its own: all but mapped files, which the system may take back."""

import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path


def run_watched(command: Sequence[str]) -> tuple[subprocess.CompletedProcess, float]:
    """Run a command to its end: what it said on its screen, and the most memory of its own (MiB)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks: dict[str, float] = {}
    threading.Thread(target=look_on, args=(process, peaks), daemon=True).start()
    _, said = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, "", said), peaks.get("anonymous_mib", 0.0)


def look_on(process: subprocess.Popen, peaks: dict[str, float]) -> None:
    """Note the largest memory of the process alone, ten times a second."""
    while True:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return
        found = re.search(r"RssAnon:\s+(\d+)", status)
        if not found:
            return
        peaks["anonymous_mib"] = max(peaks.get("anonymous_mib", 0.0), int(found[1]) / 1024)
        time.sleep(0.1)
