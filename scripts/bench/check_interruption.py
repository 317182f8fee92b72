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

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from equal_runs import folder_differences
from languages import LANGUAGE_CONFIGS, REPOSITORY, data_root, exp_root, language_paths
from training.experiment import read_metrics

NAMED_DIFFERENCES = 20


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help=f"language whose recordings are used, one of: {', '.join(sorted(LANGUAGE_CONFIGS))}",
    )
    group = parser.add_argument_group("check")
    group.add_argument("--steps", type=int, default=60, help="steps of phase 3, the last 60 %% against a discriminator")
    group.add_argument("--n_kills", type=int, default=3, help="kills a stage")
    group.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    group.add_argument("--num_threads", type=int, default=1, help="threads of each process, the same in both runs")
    group.add_argument("--work", type=Path, help="folder for the throw-away folder; by default the system's")
    args = parse_flags(parser, argv)
    require_positive(args, "steps", "n_kills", "num_threads")
    return args


def plan_stages(args: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> script and flags; intervals are short so that there is something to resume from at any moment."""
    phase1 = ["--encoder", "mfcc", "--n_shard_utterances", "20", "--quiet"]
    phase3 = ["--generator", "v3", "--steps", str(args.steps), "--validation_seconds", "10", "--num_samples", "1"]
    every = ["--log_every", "4", "--save_every", "5", "--eval_every", "10", "--sample_every", "20"]
    return {
        "segmentation": ["scripts/segment_audio.py", "--quiet"],
        "phase 1": ["src/extract_units.py", *phase1, "--resume", "auto"],
        "phase 3": ["src/trainer_vocoder.py", *phase3, *every, "--resume", "auto"],
    }


def stage_folders(stage: str, language: str, root: Path) -> list[Path]:
    """The folders below ``root`` that a stage writes to."""
    paths = language_paths(language)
    data = root / "data" / paths["data"].relative_to(data_root())
    if stage == "segmentation":
        return [data]
    if stage == "phase 1":
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
    if not paths["raw"].is_dir():
        raise UserError(f"{paths['raw']}: expected recordings, found none; run: bash recipes/{language}/prepare.sh")
    data = root / "data" / paths["data"].relative_to(data_root())
    shutil.copytree(paths["raw"], data / "raw", copy_function=link_or_copy)
    for name in ("transcripts", "speakers"):
        if paths[name].exists():
            link_or_copy(str(paths[name]), str(data / paths[name].name))


def draw_pauses(duration: float, n_kills: int, generator: random.Random) -> list[float]:
    """Seconds from each start to its kill, uniform over the undisturbed ``duration``; the later starts get farther."""
    return sorted(generator.uniform(0.0, duration) for _ in range(n_kills))


def run_stage(command: list[str], language: str, root: Path, threads: int, seconds: float | None = None) -> bool:
    """Run ``command`` below ``root`` and kill its process group after ``seconds``; returns whether it was killed."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(threads), "TAG": ""}
    environment |= {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TQDM_DISABLE": "1"}
    (script, *flags), screen = command, root.with_name("screen.txt")
    with open(screen, "ab") as output:
        words = [sys.executable, str(REPOSITORY / script), "--language", language, *flags]
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


def describe_progress(stage: str, language: str, root: Path) -> str:
    folder = stage_folders(stage, language, root)[0]
    if stage == "phase 3":
        return f"step {max((row['step'] for row in read_metrics(folder)), default=0)}"
    return f"{sum(path.is_file() for path in folder.rglob('*'))} files"


def interrupt(
    stage: str, command: list[str], pauses: list[float], args: argparse.Namespace, roots: list[Path]
) -> tuple[list[str], int, list[str]]:
    """Start, kill, start again, let the last start end and compare: the kills, number of files, differences.

    A run that ends before its kill, having little left to do, is compared too; then the stage begins anew. Where even
    a fresh run ends first, the machine is quicker than it was when undisturbed, and the pauses are halved.
    """
    root, kills, found = roots[1], [], []
    shutil.copytree(root, before := root.with_name("before"), copy_function=link_or_copy)
    while True:
        if run_stage(command, args.language, root, args.num_threads, pauses[0] if pauses else None):
            kills.append(f"{pauses.pop(0):.1f} s ({describe_progress(stage, args.language, root)})")
            continue
        compared = [folder_differences(*pair) for pair in zip(*(stage_folders(stage, args.language, r) for r in roots))]
        found += [difference for _, different in compared for difference in different]
        if found or not pauses:
            return kills, sum(n_files for n_files, _ in compared), found
        if not kills or kills[-1] == "anew":
            pauses = [pause / 2 for pause in pauses]
        kills.append("anew")
        shutil.rmtree(root)
        shutil.copytree(before, root, copy_function=link_or_copy)


def check_stage(stage: str, command: list[str], args: argparse.Namespace, roots: list[Path]) -> tuple:
    """Run one stage in both roots: seconds undisturbed, kills, number of files compared, differences."""
    clock = time.monotonic()
    run_stage(command, args.language, roots[0], args.num_threads)
    duration = time.monotonic() - clock
    pauses = draw_pauses(duration, args.n_kills, random.Random(f"{args.seed} {stage}"))
    result = interrupt(stage, command, pauses, args, roots)
    shutil.rmtree(roots[1].with_name("before"))
    return duration, *result


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
    for stage, command in plan_stages(args).items():
        seconds, kills, n_files, found = check_stage(stage, command, args, roots)
        print_row(stage, f"{seconds:.1f}", ", ".join(kills), n_files, f"no: {len(found)} differ" if found else "yes")
        for difference in found[:NAMED_DIFFERENCES]:
            print(f"{stage}: {difference}", file=sys.stderr)
        failed = failed or bool(found)
    if failed:
        print(f"kept for a look: {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    run_main(main)
