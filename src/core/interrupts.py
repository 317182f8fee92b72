"""Ctrl-C ends a script in one line with code 130, whatever the script is doing.

While a script imports, which takes seconds, there is nothing to clean up, and Ctrl-C ends it at once
(``core.quiet_start``). ``core.cli.run_main`` then lets it be a KeyboardInterrupt, so that what is open is closed. A
training saves first (``training.resuming``). What a shell starts in the background ignores Ctrl-C, and that stays so.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

PROGRAMS = ("src", "scripts", "recipes")  # folders of this repository that hold scripts
STEP_VARIABLE = "ORAL_UNITS_STEP"  # set by scripts/shell_functions.sh, which then says the line itself


def ignores_interrupts() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def end_interrupted(*_: int | FrameType | None) -> NoReturn:
    """Say so in one line, and end by the signal itself, which a shell calls 130: loops of the shell end as well."""
    if not os.environ.get(STEP_VARIABLE) and os.environ.get("RANK", "0") == "0":
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + signal.SIGINT)  # where this thread runs on for a moment


def ignore_interrupts() -> None:
    """For a process that a script has started: Ctrl-C reaches all of them, and the first one answers for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_at_once() -> None:
    """From here on Ctrl-C ends this process at once, without a word of Python's. A forked copy stays silent.

    Nothing changes in a notebook, a test, or another program that imports a module of this repository.
    """
    ours = os.getpid()

    def end(*_: int | FrameType | None) -> NoReturn:
        if os.getpid() != ours:
            os._exit(128 + signal.SIGINT)
        end_interrupted()

    if _is_own_program() and not ignores_interrupts():
        signal.signal(signal.SIGINT, end)


def raise_interrupts() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt, so that what is open is closed."""
    if not ignores_interrupts():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_own_program() -> bool:
    """Whether a script of this repository is what runs."""
    started = os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or os.devnull)
    repository = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
    return started.startswith(tuple(os.path.join(repository, folder, "") for folder in PROGRAMS))
