"""Check that killed and resumed runs end with the same files as uninterrupted ones, on a language's real recordings.

Segmentation, phase 1 and phase 3 run twice in a throw-away folder: once undisturbed, and once killed (SIGKILL to the
whole process group) at random moments and started again each time with ``--resume auto``. Then every file that both
left is compared: checkpoints (weights, averages, optimizers, random states) and k-means to the bit, metrics.jsonl but
for time fields, segments, manifests, corpus, pitch cache and samples byte for byte. Exit code 1 where anything differs.

    python scripts/bench/check_interruption.py --language spanish
    python scripts/bench/check_interruption.py --language spanish --steps 40 --n_kills 5 --seed 1 --work /tmp
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from equal_runs import folder_differences
from languages import REPOSITORY, data_root, exp_root, language_help, language_paths
from segmentation.tables import find_table
from training.experiment import read_metrics

MAX_SHOWN_DIFFERENCES = 20
FROM_THE_START = "from the start again"


class Stage(NamedTuple):
    """A stage of the chain, as both runs start it."""

    name: str
    command: list[str]  # the script and its flags, without --language
    language: str
    n_threads: int


class StageResult(NamedTuple):
    """What the check of a stage found."""

    seconds: float  # of the undisturbed run
    kills: list[str]  # when each came, and how far the run was
    n_files: int  # compared
    differences: list[str]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help=language_help("language whose recordings are used"),
    )
    group = parser.add_argument_group("check")
    group.add_argument("--steps", type=int, default=60, help="steps of phase 3, the last 60 %% against a discriminator")
    group.add_argument("--n_kills", type=int, default=3, help="kills per stage")
    group.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    group.add_argument("--num_threads", type=int, default=1, help="threads of each process, the same in both runs")
    group.add_argument("--work", type=Path, help="folder for the throw-away folder; by default the system's")
    args = parse_flags(parser, argv)
    require_positive(args, "steps", "n_kills", "num_threads")
    return args


def plan_stages(language: str, steps: int, n_threads: int) -> list[Stage]:
    """Intervals are short, so that there is something to resume from at any moment."""
    phase1 = ["--encoder", "mfcc", "--n_shard_utterances", "20", "--quiet"]
    phase3 = ["--generator", "v3", "--steps", str(steps), "--validation_seconds", "10", "--num_samples", "1"]
    every = ["--log_every", "4", "--save_every", "5", "--eval_every", "10", "--sample_every", "20"]
    commands = {
        "segmentation": ["scripts/segment_audio.py", "--quiet"],
        "phase 1": ["src/extract_units.py", *phase1, "--resume", "auto"],
        "phase 3": ["src/trainer_vocoder.py", *phase3, *every, "--resume", "auto"],
    }
    return [Stage(name, command, language, n_threads) for name, command in commands.items()]


def stage_folders(name: str, language: str, root: Path) -> list[Path]:
    """The folders below ``root`` that a stage writes to."""
    paths = language_paths(language)
    data = root / "data" / paths["data"].relative_to(data_root())
    if name == "segmentation":
        return [data]
    if name == "phase 1":
        return [root / "exp" / paths["units"].relative_to(exp_root())]
    return [root / "exp" / paths["vocoder"].relative_to(exp_root()), data / "cache"]


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def link_inputs(language: str, root: Path) -> None:
    """Give ``root`` the recordings and tables of the language, linked where the file system can."""
    paths = language_paths(language)
    raw = paths["raw"]
    if not raw.is_dir():
        raise UserError(f"{raw}: expected recordings, found none; run: bash recipes/{language}/prepare.sh")
    data = root / "data" / raw.parent.relative_to(data_root())
    shutil.copytree(raw, data / "raw", copy_function=link_or_copy)
    for table in (paths["transcripts"], paths["speakers"]):
        if found := find_table(table):
            link_or_copy(str(found), str(data / found.name))


def draw_pauses(duration: float, n_kills: int, generator: random.Random) -> list[float]:
    """Seconds from each start to its kill, uniform over the undisturbed ``duration``; the later starts get farther."""
    return sorted(generator.uniform(0.0, duration) for _ in range(n_kills))


def run_stage(stage: Stage, root: Path, seconds: float | None = None) -> bool:
    """Run ``stage`` below ``root`` and kill its process group after ``seconds``; returns whether it was killed."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(stage.n_threads), "TAG": ""}
    environment |= {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TQDM_DISABLE": "1"}
    (script, *flags), screen = stage.command, root.with_name("screen.txt")
    with open(screen, "ab") as output:
        words = [sys.executable, str(REPOSITORY / script), "--language", stage.language, *flags]
        process = subprocess.Popen(
            words, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        finally:  # also when this check is interrupted itself
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        tail = screen.read_text(errors="replace")[-2000:]
        raise UserError(f"{script}: expected exit code 0, found {code}; the end of {screen}:\n{tail}")
    return False


def describe_progress(stage: Stage, root: Path) -> str:
    folder = stage_folders(stage.name, stage.language, root)[0]
    if stage.name == "phase 3":
        return f"step {max((row['step'] for row in read_metrics(folder)), default=0)}"
    return f"{sum(path.is_file() for path in folder.rglob('*'))} files"


def compare_roots(stage: Stage, roots: list[Path]) -> tuple[int, list[str]]:
    """How many files of the stage were compared, and where they differ."""
    pairs = zip(*(stage_folders(stage.name, stage.language, root) for root in roots))
    compared = [folder_differences(*pair) for pair in pairs]
    return sum(n_files for n_files, _ in compared), [found for _, differences in compared for found in differences]


def interrupt(stage: Stage, pauses: list[float], roots: list[Path]) -> tuple[list[str], int, list[str]]:
    """Start, kill, start again, let the last start end and compare: the kills, number of files, differences.

    A run that ends before its kill, having little left to do, is compared too; then the stage starts from its input
    again. Where even a fresh run ends first, the machine is quicker than it was when undisturbed, and the pauses are
    halved.
    """
    root, kills = roots[1], []
    shutil.copytree(root, before := root.with_name("before"), copy_function=link_or_copy)
    while True:
        if run_stage(stage, root, pauses[0] if pauses else None):
            kills.append(f"{pauses.pop(0):.1f} s ({describe_progress(stage, root)})")
            continue
        n_files, differences = compare_roots(stage, roots)
        if differences or not pauses:
            return kills, n_files, differences
        if not kills or kills[-1] == FROM_THE_START:
            pauses = [pause / 2 for pause in pauses]
        kills.append(FROM_THE_START)
        shutil.rmtree(root)
        shutil.copytree(before, root, copy_function=link_or_copy)


def check_stage(stage: Stage, roots: list[Path], n_kills: int, seed: int) -> StageResult:
    """Run one stage in both roots, undisturbed in the first and killed ``n_kills`` times in the second."""
    clock = time.monotonic()
    run_stage(stage, roots[0])
    duration = time.monotonic() - clock
    pauses = draw_pauses(duration, n_kills, random.Random(f"{seed} {stage.name}"))
    kills, n_files, differences = interrupt(stage, pauses, roots)
    shutil.rmtree(roots[1].with_name("before"))
    return StageResult(duration, kills, n_files, differences)


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    # The runs have process groups of their own: without this they would outlive a check that is terminated.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    language_paths(args.language)  # refuses an unknown language before anything is written
    work = Path(tempfile.mkdtemp(prefix="check_interruption_", dir=args.work))
    roots = [work / "undisturbed", work / "interrupted"]
    for root in roots:
        link_inputs(args.language, root)
    print_row("stage", "undisturbed (s)", "killed after (s since the last start; at)", "files compared", "equal")
    print_row(*["---"] * 5)
    failed = False
    for stage in plan_stages(args.language, args.steps, args.num_threads):
        seconds, kills, n_files, differences = check_stage(stage, roots, args.n_kills, args.seed)
        equal = f"no: {len(differences)} differ" if differences else "yes"
        print_row(stage.name, f"{seconds:.1f}", ", ".join(kills), n_files, equal)
        for difference in differences[:MAX_SHOWN_DIFFERENCES]:
            print(f"{stage.name}: {difference}", file=sys.stderr)
        failed = failed or bool(differences)
    if failed:
        print(f"kept for a look: {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    run_main(main)
