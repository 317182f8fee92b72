"""--engine_args: what a person hands on to sbatch or qsub as it stands, beside what the launcher has flags for.

An option that the launcher needs for itself, or that a typed flag stands for, is refused; a site's own yields to both.
launching/slurm_args.py and sge_args.py know the options.
"""

import re
import shlex
from typing import NamedTuple, NoReturn

from core.errors import UserError


class EngineArgs(NamedTuple):
    """What --engine_args and the site's engine_args come to."""

    options: tuple[str, ...] = ()  # as they stand in the job's script, one option each
    flags: frozenset[str] = frozenset()  # the launcher's flags that they stand for: "memory", "partition", …
    gpus: int | None = None
    gpu_type: str | None = None


def split_words(text: str) -> list[str]:
    """The words of ``text``, as a shell would read them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"--engine_args {text!r}: expected options, found unmatched quotes") from error


def parse_gpus(text: str) -> tuple[int, str | None]:
    """(number, type) of "2", "a100:2" or "a100"; UserError for anything else."""
    if text.isdigit():
        return int(text), None
    found = re.fullmatch(r"([A-Za-z][\w.-]*)(?::(\d+))?", text)
    if not found:
        raise UserError(f"--gpus {text}: expected 0 or more, or a type and a number, as in 2 or a100:2")
    return int(found[2] or 1), found[1]


def refuse_own(option: str, flag: str) -> NoReturn:
    """The launcher sets ``option``; where ``flag`` says the same, that is the remedy."""
    remedy = f"give {flag} instead" if flag else "the launcher sets it; leave it out"
    raise UserError(f"--engine_args {option}: {remedy}")


def refuse_twice(option: str, flag: str) -> NoReturn:
    raise UserError(f"--engine_args {option} and --{flag}: both say the same thing; leave one out")
