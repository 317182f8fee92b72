"""What every direct-run script shares: flags, clear errors, the log."""

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.composed_names import find_typed
from core.disk_errors import describe_disk_error, disk_error_number
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED, EXIT_USER_MISTAKE
from core.interrupts import end_at_once, end_interrupted, ignore_interrupts, raise_interrupts

# What the system says of a file that a script opens: the names, the folders and the limits are the user's to mend.
SAID_OF_FILES = {
    errno.ENOENT: "expected a file, found none; check the path",
    errno.EISDIR: "expected a file, found a folder; name a file in it",
    errno.EEXIST: "expected a folder there, or nothing, found a file; move it away, or name another place",
    errno.ENOTDIR: "expected a folder on the way there, found a file; check the path",
    errno.ENAMETOOLONG: "the name is too long for this disk; give a shorter one",
    errno.ELOOP: "is a link that leads back to itself; delete it",
    errno.ENXIO: "expected a file, found a pipe or a device; check the path",
    errno.EMFILE: "too many files are open; raise the limit with: ulimit -n 4096",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.ESTALE: "was replaced on its server while it was open; run the command again",
    errno.ETIMEDOUT: "its server did not answer; run the command again",
}


class HELP_FORMATTER(argparse.HelpFormatter):  # noqa: N801 (a constant of argparse's own kind)
    """Help that names a default only where it says something, and leaves the examples of a description as they are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = (action.help or "").replace("``", ""), action.default
        silent = action.required or not action.option_strings or default in (None, "", argparse.SUPPRESS)
        if silent or isinstance(default, bool | list | tuple) or "default" in text or text.endswith(f"({default})"):
            return text
        return f"{text} (default: %(default)s)"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are wrapped; one with an indented line, such as a command, stays."""
        paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", text.replace("``", ""))]
        fill = super()._fill_text
        kept = [part if re.search(r"^ ", part, re.MULTILINE) else fill(part, width, indent) for part in paragraphs]
        return "\n\n".join(kept)


def parse_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None, *, everyday: Sequence[str] = ()
) -> argparse.Namespace:
    """Parse ``argv`` with ``-`` and ``_`` alike in flag names; inside a notebook kernel the defaults hold.

    everyday: names of the flags that ``--help`` shows, without dashes; ``--help_all`` always shows every flag.
    ``flag_defaults`` of the result holds the defaults: what a run that is older than a flag is taken to have had.
    """
    if argv is None:
        argv = [] if "ipykernel" in sys.modules else sys.argv[1:]
    words = [_with_underscores(word) for word in argv]
    defaults = argparse.Namespace(flag_defaults={name: parser.get_default(name) for name in _flag_names(parser)})
    parser.add_argument("--help_all", action="help", help="show every flag and exit" if everyday else argparse.SUPPRESS)
    # argparse would print every flag above the line that says what is wrong.
    said = f"error: {{}}; {parser.prog} --help shows the flags\n"
    parser.error = lambda message: parser.exit(EXIT_USER_MISTAKE, said.format(message))
    for action in parser._actions:
        action.type = _path_of if action.type is Path else action.type
    _check_everyday(parser, everyday)
    if everyday and not {"-h", "--help"}.isdisjoint(words):
        _hide_rare_flags(parser, everyday)
    args = parser.parse_args(words, defaults)
    if os.environ.get("ORAL_UNITS_CHECK_FLAGS"):  # the chain asks before it begins (scripts/shell_functions.sh)
        parser.exit()
    return args


def _path_of(text: str) -> Path:
    """The file or folder that a word means, whatever the form of its accents (core.composed_names).

    An empty word, as an unset variable of a shell leaves it, would silently be the folder one is in.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, found an empty word; name it, or . for this folder")
    return find_typed(Path(text))


def says_next() -> bool:
    """Whether a script names the command that comes next; a script that runs several names it once, or runs it."""
    return not os.environ.get("ORAL_UNITS_CHAIN")


def given_flags(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> set[str]:
    """Names of the flags that stand in ``argv``, whatever their values; ``parse_flags`` has accepted them before."""
    words = [] if argv is None and "ipykernel" in sys.modules else sys.argv[1:] if argv is None else argv
    absent = object()
    blank = argparse.Namespace(**dict.fromkeys(_flag_names(parser), absent))
    found, _ = parser.parse_known_args([_with_underscores(word) for word in words], blank)
    return {name for name, value in vars(found).items() if value is not absent}


def _check_everyday(parser: argparse.ArgumentParser, everyday: Sequence[str]) -> None:
    unknown = set(everyday) - {action.dest for action in parser._actions}
    assert not unknown, f"everyday flags that the parser lacks: {sorted(unknown)}"


def _hide_rare_flags(parser: argparse.ArgumentParser, everyday: Sequence[str]) -> None:
    """Leave only ``everyday`` and required flags in the help that comes next."""
    flags = [action for action in parser._actions if action.option_strings and action.dest not in ("help", "help_all")]
    for action in flags:
        if action.dest not in everyday and not action.required:
            action.help = argparse.SUPPRESS
    for group in parser._action_groups:
        if all(action.help == argparse.SUPPRESS for action in group._group_actions):
            group.description = None
    pointer = f"These are the everyday flags; --help_all shows all {len(flags)}."
    parser.epilog = f"{parser.epilog}\n\n{pointer}" if parser.epilog else pointer


def _flag_names(parser: argparse.ArgumentParser) -> set[str]:
    return {action.dest for action in parser._actions if action.default is not argparse.SUPPRESS}


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Refuse flags that are given and not above 0."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} {value}: expected a number above 0")


def require_not_negative(args: argparse.Namespace, *names: str) -> None:
    """Refuse flags that are given and below 0."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not value >= 0:
            raise UserError(f"--{name} {value}: expected 0 or more")


def require_share(args: argparse.Namespace, *names: str) -> None:
    """Refuse flags outside 0 to 1, 1 excluded."""
    for name in names:
        if not 0 <= getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: expected a number from 0 to below 1")


def _with_underscores(word: str) -> str:
    if not word.startswith("--") or word == "--":
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def add_experiment_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """``--exp``, ``--resume`` and ``--overwrite``, the same in every script that makes an experiment."""
    group = parser.add_argument_group("experiment")
    group.add_argument("--exp", type=Path, default=None, help="experiment folder; by default named after the language")
    group.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        default=None,
        metavar="PATH",
        help="continue an unfinished run from its latest state, or from the checkpoint PATH; "
        "'auto' continues where there is something to continue and starts over otherwise",
    )
    group.add_argument("--overwrite", action="store_true", help="delete what an earlier run of this name left")
    return group


def run_main(main: Callable[[], int | None], *, less_memory: str = "") -> None:
    """Run ``main`` and exit with its code; what the user can repair, and Ctrl-C, become one line.

    ORAL_UNITS_TRACEBACK=1 shows the rest. less_memory: flags with which the script needs less, for the line that says
    the memory has run out.
    """
    use_utf8()
    raise_interrupts()
    try:
        code = main() or 0
        # What is left is Python's own end. A run that has saved keeps its code: the shell hands on the same Ctrl-C.
        if code == EXIT_STOPPED:
            ignore_interrupts()
        else:
            end_at_once()
        sys.exit(code)
    except KeyboardInterrupt:
        end_interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        said = _in_one_line(error, less_memory)
        if said is None or os.environ.get("ORAL_UNITS_TRACEBACK"):
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(EXIT_USER_MISTAKE)


def use_utf8() -> None:
    """Where the locale has another encoding, start this script again with UTF-8 for names, texts and output."""
    if sys.getfilesystemencoding() == "utf-8" or "PYTHONUTF8" in os.environ:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very program, its own words)


def _in_one_line(error: Exception, less_memory: str) -> str | None:
    """What the user can repair: a mistake, too little memory, a full disk; None for a defect of the code."""
    if isinstance(error, UserError):
        return str(error)
    if number := disk_error_number(error):
        return describe_disk_error(number, getattr(error, "filename", None))
    if isinstance(error, PermissionError) and error.filename:
        place, wanted = error.filename, "read it, or to write into its folder"
        return f"{place}: no right to {wanted}; ask for it, or set DATA_ROOT and EXP_ROOT to folders of your own"
    if isinstance(error, OSError) and error.errno in SAID_OF_FILES and error.filename:
        return f"{error.filename}: {SAID_OF_FILES[error.errno]}"
    # torch's own class, by name, for scripts that never load it; its CPU allocator raises a plain RuntimeError.
    short = type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "can't allocate memory" in str(error)
    if not short:
        return None
    reason = (str(error).splitlines() or ["no more to be had"])[0]
    remedy = f"try {less_memory}, or a machine with more" if less_memory else "try a machine with more"
    return f"out of memory: {reason}; {remedy}"


def configure_log(log_file: Path | None = None, *, quiet: bool = False) -> logging.Logger:
    """The logger ``oral_units``: plain lines to stderr and, with ``log_file``, dated lines appended to it."""
    log = logging.getLogger("oral_units")
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    if not quiet:
        screen = logging.StreamHandler(sys.stderr)
        screen.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(screen)
    if log_file is not None:
        dated = logging.FileHandler(log_file)
        dated.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(dated)
    return log
