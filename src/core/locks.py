"""One process at a time, where the file system knows locks; some mounts of Lustre, SMB and FUSE know none."""

import contextlib
import errno
import fcntl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError

POLL_SECONDS = 0.2
HELD = (errno.EAGAIN, errno.EACCES)  # somebody else has it; any other error: there are no locks here


@contextlib.contextmanager
def only_one(lock_file: Path, *, patience: float, busy: str) -> Iterator[None]:
    """Hold a lock on ``lock_file``, which stays; a killed process loses it. Waits at most ``patience`` seconds.

    UserError ``busy`` where another process holds it. On a file system without locks it goes on without, and says so.
    """
    give_up = time.monotonic() + patience
    with open(lock_file, "a", encoding="utf-8") as held:
        while (problem := _try_lock(held.fileno())) in HELD:
            if time.monotonic() > give_up:
                raise UserError(busy)
            time.sleep(POLL_SECONDS)
        if problem:
            print(f"{lock_file}: this file system has no locks; start only one run at a time here", file=sys.stderr)
        yield


def _try_lock(file: int) -> int | None:
    """None once the lock is held, else the number of the error."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno
    return None
