"""One run at a time in a folder, on this machine or on another that sees the same disk.

flock(2) holds on one machine alone where a network drive is mounted without locks, and some file systems know none. So
a lock is a file that one process alone can create, with the name of its process in it, and a sign of life twice a
minute (filelock's SoftFileLease). What a killed process leaves is taken over: at once on its own machine, where it can
be seen that it is gone, else after five minutes without a sign of life.

On Modal a claim in a Dict holds a folder (launching/modal_writers.py): a volume shows its files late.
"""

import contextlib
import functools
import getpass
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from core.errors import UserError
from core.exit_codes import EXIT_USER_MISTAKE
from core.records import LockNote

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 10.0  # what a killed run has started needs a moment to notice
BEAT_SECONDS = 30.0  # between two signs of life
LEASE_SECONDS = 300.0  # without any, a holder on another machine counts as gone
TORN_SECONDS = 5.0  # for which a lock may be empty while its holder writes it
SUFFIX, NOTE_SUFFIX = ".running", ".running.json"
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")  # of torchrun and MPI: the first process holds for all
LONGEST_COMMAND = 200  # characters


def lock_of(folder: Path, part: str = "") -> Path:
    """The lock of a folder, beside it, so that nobody who clears, copies or compares the folder meets it."""
    folder = Path(folder).absolute()
    return folder.with_name(f".{folder.name}{f'.{part}' if part else ''}{SUFFIX}")


@contextlib.contextmanager
def only_run(folder: Path, *, part: str = "", patience: float | None = None) -> Iterator[None]:
    """Hold ``folder``, which may not be there yet, against other runs that write to it. UserError names the holder.

    part: of the work, where several jobs share the folder. What a killed holder was writing is deleted.
    """
    ranks = [os.environ.get(name, "0") for name in RANKS]
    if "MODAL_TASK_ID" in os.environ or any(rank != "0" for rank in ranks):
        yield
        return
    patience, busy = PATIENCE_SECONDS if patience is None else patience, f"{folder}: another run is at work here"
    clear = functools.partial(_remove_torn, Path(folder))
    with left_as_found(folder), only_one(lock_of(folder, part), patience=patience, busy=busy, clear=clear):
        yield


@contextlib.contextmanager
def left_as_found(folder: Path) -> Iterator[None]:
    """Where what is done here fails, ``folder`` and the folders above it go again if they came with it and are empty.

    A run that refuses a mistyped path would leave a folder of that name otherwise.
    """
    folder = Path(folder).absolute()
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in filter(Path.exists, new):
                path.rmdir()
        raise


def _remove_torn(folder: Path, left: LockNote) -> None:
    """Delete the temporary files (core.files.write_atomically) of a process that is gone."""
    for leftover in folder.rglob(f".*.{left['pid']}.*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(
    lock_file: Path, *, patience: float, busy: str, clear: Callable[[LockNote], None] = lambda left: None
) -> Iterator[None]:
    """Hold ``lock_file``, which goes with its process. Waits at most ``patience`` seconds for another that holds it.

    clear: cleans up behind a holder that is gone, by what it has written of itself.

    UserError that begins with ``busy`` where it stays held. A process that was stopped for so long that another took
    its lock ends as soon as it goes on: two writers in one folder would be worse. Where no lock can be written it goes
    on without, and says so.
    """
    lock_file = Path(lock_file)
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lost = functools.partial(_end_or_warn, lock_file)
    lease = SoftFileLease(lock_file, lease_duration=LEASE_SECONDS, heartbeat_interval=BEAT_SECONDS, on_compromise=lost)
    _acquire(lease, lock_file, patience, busy)
    try:
        _sign(lock_file, clear)
        yield
    finally:
        with contextlib.suppress(OSError):
            note_of(lock_file).unlink(missing_ok=True)
        lease.release()


def _acquire(lease: SoftFileLease, lock_file: Path, patience: float, busy: str) -> None:
    """Take the lock, from a holder that is gone as well; UserError where one lives."""
    _drop_torn(lock_file)
    try:
        lease.acquire(timeout=patience, poll_interval=POLL_SECONDS)
        return
    except PermissionError as error:
        print(f"{lock_file}: no lock ({error.strerror}); start only one run at a time here", file=sys.stderr)
        return
    except (Timeout, LeaseSettingsMismatch):
        pass
    except OSError:  # a disk that is full or broken, and may refuse to take away what it has begun
        with contextlib.suppress(OSError):
            if not lock_file.stat().st_size:
                lock_file.unlink()
        raise
    held = f"{busy}: {describe_holder(lock_file)}"
    if not _is_seen_here(lease):
        print(f"{held}; waiting for a sign of life, {LEASE_SECONDS / 60:.0f} minutes at most", file=sys.stderr)
        last = _changed(lock_file)
        with contextlib.suppress(Timeout, LeaseSettingsMismatch):
            alive = functools.partial(_has_moved, lock_file, last)
            lease.acquire(timeout=LEASE_SECONDS + BEAT_SECONDS, poll_interval=POLL_SECONDS, cancel_check=alive)
            return
    raise UserError(
        f"{held}; wait for it to end, or end it; where it surely runs no more: rm {shlex.quote(str(lock_file))}"
    )


def _is_seen_here(lease: SoftFileLease) -> bool:
    """Whether the holder is a process of this machine that can be looked at: then it lives, or it would be gone."""
    owner = lease.owner
    return owner is not None and _plain_host(owner.hostname) == socket.gethostname() and psutil.pid_exists(owner.pid)


def _plain_host(name: str) -> str:
    return name.partition("?")[0]  # behind it filelock names a container


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _has_moved(path: Path, last: tuple[int, int] | None) -> bool:
    """Whether the holder has given a sign of life since; one that has released its lock gives none."""
    now = _changed(path)
    return now is not None and last is not None and now != last


def _drop_torn(lock_file: Path) -> None:
    """Remove a lock that names nobody, as a kill leaves it between its creation and its first line, or a full disk.

    It is watched by this process's own clock: the times of files are those of a server, which may be wrong.
    """
    seen, give_up = _changed(lock_file), time.monotonic() + TORN_SECONDS
    with contextlib.suppress(OSError):
        while not lock_file.stat().st_size and _changed(lock_file) == seen:
            if time.monotonic() > give_up:
                lock_file.unlink()
            time.sleep(POLL_SECONDS)


def note_of(lock_file: Path) -> Path:
    return lock_file.with_name(lock_file.name.removesuffix(SUFFIX) + NOTE_SUFFIX)


def _sign(lock_file: Path, clear: Callable[[LockNote], None]) -> None:
    """Say from whom the lock was taken over, if from anybody, clean up behind it, and write down who has it now.

    In this order: who is killed before the end leaves the older note, and the next one cleans up behind both.
    """
    if left := read_note(note_of(lock_file)):
        print(f"{lock_file}: taken over from {describe_note(left)}, which is gone", file=sys.stderr)
        clear(left)
    with contextlib.suppress(PermissionError):
        note_of(lock_file).write_text(json.dumps(_own_note()), encoding="utf-8")


def read_note(note: Path) -> LockNote | None:
    """What the last holder of a lock has written of itself, unless it has given the lock back."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and LockNote.__annotations__.keys() <= found.keys() else None


def _own_note() -> LockNote:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container knows no names
        user = str(os.getuid())
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    host, pid = socket.gethostname(), os.getpid()
    return {"user": user, "host": host, "pid": pid, "since": time.time(), "command": command[:LONGEST_COMMAND]}


def describe_note(note: LockNote) -> str:
    return f"process {note['pid']} of {note['user']} on {note['host']} ({note['command']})"


def describe_holder(lock_file: Path) -> str:
    """Who holds a lock, since when, and its last sign of life; as much of it as is known."""
    found = read_note(note_of(lock_file))
    owner = SoftFileLease(lock_file, lease_duration=LEASE_SECONDS, heartbeat_interval=BEAT_SECONDS).owner
    if found and (owner is None or owner.pid == found["pid"]):
        who = f"{describe_note(found)}, for {say_age(time.time() - found['since'])}"
    else:
        who = f"process {owner.pid} on {_plain_host(owner.hostname)}" if owner else "somebody who left no name"
    status = _changed(lock_file)
    return f"{who}, last sign of life {say_age(time.time() - status[1] / 1e9)} ago" if status else who


def say_age(seconds: float) -> str:
    """ "12 s", "5 min", "3 h 20 min", "2 days"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min" if seconds < 172_800 else f"{seconds // 86_400} days"


def _end_or_warn(lock_file: Path, lost: object) -> None:
    """In filelock's own thread: the lock is another's, or is gone; or a disk does not answer."""
    if lost.reason == "refresh-failed":
        print(f"{lock_file}: no sign of life can be written ({lost.error}); start no other run here", file=sys.stderr)
        return
    print(f"error: {lock_file}: was taken by another run, or deleted; this one ends, to harm nothing", file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_USER_MISTAKE)
