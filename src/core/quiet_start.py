"""Imported first by every direct-run script: Ctrl-C while the rest is imported ends it in one line."""

import sys

from core.interrupts import end_at_once, ignore_interrupts

if "--multiprocessing-fork" in sys.orig_argv:
    ignore_interrupts()  # a worker that imports its script again
else:
    end_at_once()
