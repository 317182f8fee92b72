"""Imported first by every direct-run script: Ctrl-C during its imports, and another Python, end it in one line."""

import importlib.util
import sys

from core.exit_codes import EXIT_USER_MISTAKE
from core.interrupts import end_at_once, ignore_interrupts

if "--multiprocessing-fork" in sys.orig_argv:
    ignore_interrupts()  # a worker that imports its script again
else:
    end_at_once()

if importlib.util.find_spec("torch") is None:
    print(
        f"error: {sys.executable}: expected the Python of oral-units, found one without torch; run: source path.sh",
        file=sys.stderr,
    )
    sys.exit(EXIT_USER_MISTAKE)
