"""Check that killed runs end with the files of undisturbed ones: every script that writes, at random moments.

The chain runs in a throw-away folder, on the shortest recordings of a language, stage after stage. Each stage first
runs undisturbed. Then it is killed --n_kills times by SIGKILL and as often by SIGTERM, each time at a random moment,
and started again with the same command. Whenever a run ends, every file is compared: checkpoints and arrays to the bit,
metrics but for time fields, everything else byte for byte; a temporary file that is left counts as a difference. Then
the stage starts from its input again. Exit code 1 where anything differs.

With --n_errors the disk fails as well: from a random one of its writing calls on, each of them ends with ENOSPC (a full
disk) or EIO (a broken one), below the throw-away folder alone. The same command on a good disk must then end equal.

    python scripts/bench/check_interruption.py --language spanish
    python scripts/bench/check_interruption.py --language spanish --stages units voice --n_kills 5 --n_errors 5

A run begins in a copy of a process that has imported PyTorch, so that the moments fall into its work and not into its
imports. Memory that is not on the disk yet (a power cut) is not tested: the system lives on.
"""

import argparse
import errno
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import torch

from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main
from core.errors import UserError
from disk_faults import NEVER, count_calls, fail_at, is_loaded, load_faults
from equal_runs import folder_differences
from interrupted_stages import STAGES, Stage, fill_in, prepare, words_of
from languages import REPOSITORY, data_root, language_help, language_paths
from segmentation.tables import find_table

SHOWN = 20  # differences
POLL_SECONDS = 0.002
IMPORTED = ("torchaudio", "transformers", "accelerate", "sklearn.cluster", "tokenizers", "parselmouth", "av", "peft")
IMPORTED += ("matplotlib.pyplot", "torch.utils.tensorboard", "torch._dynamo", "numba")
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}


class Fault(NamedTuple):
    """Which writing call is the first to fail, and with what."""

    call: int
    error: int


class Tally(NamedTuple):
    """What the kills of a stage found."""

    seconds: float  # of the undisturbed run
    n_kills: dict[str, int]  # by signal
    n_whole: int  # runs that ended, after kills, and were compared
    n_files: int
    differences: list[str]


class FaultTally(NamedTuple):
    """What a failing disk did to a stage."""

    n_calls: int  # writing calls of the undisturbed run
    n_refused: int  # runs that ended with another exit code than 0
    n_tracebacks: int  # of those
    n_unharmed: int  # runs that ended with 0: what failed can be done without
    differences: list[str]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help=language_help("language whose recordings are used"),
    )
    group = parser.add_argument_group("check")
    group.add_argument(
        "--stages", nargs="+", choices=list(STAGES), default=list(STAGES), help="which are killed; the others just run"
    )
    group.add_argument("--n_kills", type=int, default=50, help="kills by each signal, a stage")
    group.add_argument("--n_errors", type=int, default=0, help="runs on a full and on a broken disk each, a stage")
    group.add_argument("--n_recordings", type=int, default=4, help="recordings to work on, the shortest ones")
    group.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    group.add_argument("--work", type=Path, help="folder for the throw-away folder; by default the system's")
    args = parse_flags(parser, argv)
    require_positive(args, "n_recordings")
    require_not_negative(args, "n_kills", "n_errors")
    return args


def link_inputs(language: str, root: Path, n_recordings: int) -> None:
    """Copy the shortest recordings and the tables of the language into ``root``; each is a speaker's session."""
    paths = language_paths(language)
    if not paths["raw"].is_dir():
        raise UserError(f"{paths['raw']}: expected recordings, found none; run: bash recipes/{language}/prepare.sh")
    files = sorted((path for path in paths["raw"].rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = root / "data" / language
    for path in files[:n_recordings]:
        target = data / "raw" / path.relative_to(paths["raw"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    shutil.copy2(files[0], root.with_name(f"recording{files[0].suffix}"))
    (root / "exp").mkdir()
    (root / "out").mkdir()
    if found := find_table(paths["speakers"]):
        shutil.copy2(found, data / found.name)


def start(stage: Stage, language: str, root: Path, fault: Fault | None = None) -> int:
    """Start a stage below ``root`` in a copy of this process, which leads a process group; returns its number."""
    words = words_of(stage, language, root)
    # A signal that comes before the copy has its own answer would get that of this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    process = os.fork()
    if process == 0:
        _be_script(words, root / stage.below, root.with_name("screen.txt"), fault)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return process


def _be_script(words: list[str], root: Path, screen_path: Path, fault: Fault | None) -> None:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        screen = os.open(screen_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(screen, 1)
        os.dup2(screen, 2)
        os.environ |= {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TQDM_DISABLE": "1", "TAG": ""}
        sys.argv, sys.path[0] = words, str(REPOSITORY / Path(words[0]).parent)
        if is_loaded():
            fail_at(screen_path.parent, *(fault or (NEVER, 0)))
        runpy.run_path(str(REPOSITORY / words[0]), run_name="__main__")
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        if is_loaded():
            n_calls, _ = count_calls(), fail_at(Path("/nowhere"), NEVER, 0)
            screen_path.with_name("calls.txt").write_text(str(n_calls))
        os._exit(code)


def await_end(process: int, seconds: float | None, number: int) -> int | None:
    """Wait for a run, at most ``seconds``, then send it and its workers the signal: its exit code, None if killed."""
    give_up = time.monotonic() + seconds if seconds is not None else float("inf")
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            break
        time.sleep(POLL_SECONDS)
    os.kill(process, number)
    _, status = os.waitpid(process, 0)
    _end_group(process)
    code = os.waitstatus_to_exitcode(status)
    return code if code == 0 else None


def _end_group(process: int) -> None:
    """A scheduler ends what a killed process has left behind."""
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def require_success(code: int | None, stage: Stage, root: Path) -> None:
    if code:
        tail = root.with_name("screen.txt").read_text(errors="replace")[-2000:]
        print(tail, file=sys.stderr)
        raise UserError(f"{stage.command[0]}: expected exit code 0, found {code}; its last words are above")


def put_back(folders: Sequence[str], source: Path, target: Path) -> None:
    """Make ``folders`` below ``target`` what they are below ``source``."""
    for name in folders:
        shutil.rmtree(target / name, ignore_errors=True)
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


def compare(folders: Sequence[str], roots: Sequence[Path]) -> tuple[int, list[str]]:
    """How many files of a stage were compared, and where they differ."""
    hidden = [*roots, *(Path(root.name) for root in roots)]  # pages show the last parts of a path alone
    pairs = [folder_differences(roots[0] / name, roots[1] / name, hidden) for name in folders]
    return sum(n_files for n_files, _ in pairs), [found for _, differences in pairs for found in differences]


def check_stage(stage: Stage, language: str, roots: Sequence[Path], n_kills: int, moments: random.Random) -> Tally:
    """Run a stage undisturbed in the first root; then kill it again and again in the second, and compare."""
    folders = fill_in(stage.writes, language, roots[0])
    before = roots[1].with_name("before")
    put_back(folders, roots[1], before)
    clock = time.monotonic()
    require_success(await_end(start(stage, language, roots[0]), None, 0), stage, roots[0])
    duration = time.monotonic() - clock
    left = [name for name in SIGNALS for _ in range(n_kills)]
    moments.shuffle(left)
    n_whole, n_files, found = 0, 0, []
    killed = {name: 0 for name in SIGNALS}
    while not found:
        # The pause is for the run that must end, once all kills are done.
        pause = moments.uniform(0.0, duration) if left else None
        name = left[-1] if left else "SIGKILL"
        code = await_end(start(stage, language, roots[1]), pause, SIGNALS[name])
        if code is None:
            killed[left.pop()] += 1
            continue
        require_success(code, stage, roots[1])
        n_whole += 1
        n_files, found = compare(folders, roots)
        if not left:
            break
        put_back(folders, before, roots[1])
    if found:  # for a look
        put_back(folders, roots[1], roots[1].with_name(f"differs_{Path(stage.command[0]).stem}"))
    put_back(folders, roots[0], roots[1])
    shutil.rmtree(before, ignore_errors=True)
    return Tally(duration, killed, n_whole, n_files, found)


def check_faults(
    stage: Stage, language: str, roots: Sequence[Path], n_errors: int, moments: random.Random
) -> FaultTally:
    """Run a stage on a good disk in the first root; then again and again on one that fails, and on a good one."""
    folders = fill_in(stage.writes, language, roots[0])
    before, screen = roots[1].with_name("before"), roots[0].with_name("screen.txt")
    put_back(folders, roots[1], before)
    put_back(folders, roots[1], roots[0])
    require_success(await_end(start(stage, language, roots[0]), None, 0), stage, roots[0])
    n_calls = int(roots[0].with_name("calls.txt").read_text())
    n_refused, n_tracebacks, found = 0, 0, []
    errors = [error for error in ERRORS.values() for _ in range(n_errors)]
    for error in errors:
        put_back(folders, before, roots[1])
        screen.write_text("")
        fault = Fault(moments.randrange(n_calls), error)
        code = await_end(start(stage, language, roots[1], fault), None, 0)
        if code:
            n_refused += 1
            if "Traceback" in screen.read_text(errors="replace"):
                n_tracebacks += 1
                shutil.copy(screen, roots[0].with_name(f"traceback_{Path(stage.command[0]).stem}_{fault.call}.txt"))
            require_success(await_end(start(stage, language, roots[1]), None, 0), stage, roots[1])
        found += [f"{os.strerror(error)} at {fault.call}: {line}" for line in compare(folders, roots)[1]]
    put_back(folders, roots[0], roots[1])
    shutil.rmtree(before, ignore_errors=True)
    return FaultTally(n_calls, n_refused, n_tracebacks, len(errors) - n_refused, found)


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def check_all(args: argparse.Namespace, roots: Sequence[Path]) -> bool:
    """Check every stage that is asked for, and run the others of their worlds; whether all was equal."""
    equal, faults = True, {}
    worlds = {STAGES[name].below for name in args.stages}
    for name, stage in STAGES.items():
        if stage.below not in worlds:
            continue
        prepare(stage, roots)
        if name not in args.stages:
            require_success(await_end(start(stage, args.language, roots[0]), None, 0), stage, roots[0])
            put_back(fill_in(stage.writes, args.language, roots[0]), roots[0], roots[1])
            continue
        moments, folders = random.Random(f"{args.seed} {name}"), fill_in(stage.writes, args.language, roots[0])
        if args.n_errors:
            inputs = roots[1].with_name("inputs")
            put_back(folders, roots[1], inputs)
            faults[name] = check_faults(stage, args.language, roots, args.n_errors, moments)
            print(f"{name}: {faults[name]._replace(differences=[])}", file=sys.stderr, flush=True)
            equal = tell(name, faults[name].differences) and equal
            for root in roots if args.n_kills else ():
                put_back(folders, inputs, root)
        if args.n_kills:
            tally = check_stage(stage, args.language, roots, args.n_kills, moments)
            kills = ", ".join(str(n_kills) for n_kills in tally.n_kills.values())
            said = describe_equality(tally.differences)
            print_row(name, f"{tally.seconds:.1f}", kills, tally.n_whole, tally.n_files, said)
            equal = tell(name, tally.differences) and equal
        if name == args.stages[-1]:
            break
    print_faults(faults)
    return equal


def describe_equality(differences: Sequence[str]) -> str:
    return f"no: {len(differences)} differ" if differences else "yes"


def tell(name: str, differences: Sequence[str]) -> bool:
    """Print what differs; whether nothing does."""
    for difference in differences[:SHOWN]:
        print(f"{name}: {difference}", file=sys.stderr)
    return not differences


def print_faults(faults: Mapping[str, FaultTally]) -> None:
    if faults:
        print_row("stage", "writing calls", "refused", "with a traceback", "did without", "equal")
        print_row(*["---"] * 6)
    for name, tally in faults.items():
        print_row(name, *tally[:4], describe_equality(tally.differences))


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    args.stages = [name for name in STAGES if name in args.stages]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    torch.set_num_threads(1)
    if args.n_errors:
        load_faults(Path(tempfile.mkdtemp(prefix="disk_faults_")))
    for name in IMPORTED:
        __import__(name)
    work = Path(tempfile.mkdtemp(prefix="check_interruption_", dir=args.work))
    roots = [work / "undisturbed", work / "interrupted"]
    for root in roots:
        link_inputs(args.language, root, args.n_recordings)
    print(f"{data_root()}: the {args.n_recordings} shortest recordings of {args.language}", file=sys.stderr)
    if args.n_kills:
        print_row("stage", "undisturbed (s)", f"killed by {', '.join(SIGNALS)}", "runs compared", "files", "equal")
        print_row(*["---"] * 6)
    equal = check_all(args, roots)
    if is_loaded():
        shutil.rmtree(Path(os.environ["LD_PRELOAD"]).parent)
    if not equal:
        print(f"kept for a look: {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    run_main(main)
