"""Check that killed runs end with the files of undisturbed ones: every script that writes, at random moments.

The chain runs in a throw-away folder, on the shortest recordings of a language, stage after stage. Each stage first
runs undisturbed. Then it is killed --n_kills times by SIGKILL and as often by SIGTERM, each time at a random moment,
and started again with the same command. Whenever a run ends, every file is compared: checkpoints and arrays to the bit,
metrics but for time fields, everything else byte for byte; a temporary file that is left counts as a difference. Then
the stage starts from its input again. Exit code 1 where anything differs.

    python scripts/bench/check_interruption.py --language spanish
    python scripts/bench/check_interruption.py --language spanish --stages units voice --n_kills 5 --work /tmp

A run begins in a copy of a process that has imported PyTorch, so that the moments fall into its work and not into its
imports. Memory that is not on the disk yet (a power cut) is not tested: the system lives on.
"""

import argparse
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from equal_runs import folder_differences
from languages import REPOSITORY, data_root, language_help, language_paths
from segmentation.tables import find_table

SHOWN = 20  # differences
POLL_SECONDS = 0.002
IMPORTED = ("torchaudio", "transformers", "accelerate", "sklearn.cluster", "tokenizers", "parselmouth", "av", "peft")
IMPORTED += ("matplotlib.pyplot", "torch.utils.tensorboard", "torch._dynamo", "numba")
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}


class Stage(NamedTuple):
    """A script as every run starts it."""

    command: list[str]  # the script and its flags
    writes: list[str]  # folders below the root, by {language}


OFTEN = ["--log_every", "2", "--save_every", "3", "--eval_every", "4", "--resume", "auto", "--cpu"]
SMALL = ["--steps", "10", "--batch_size", "4", *OFTEN]
VOICE = ["--channels", "32", "--crop_frames", "24", "--sample_every", "5", "--num_samples", "1", "--init", "none"]
VOICE += ["--validation_seconds", "5", "--adversarial_after", "5", "--discriminator_width", "16"]
# In the order of the chain: each reads what those before have written.
STAGES = {
    "segments": Stage(["scripts/segment_audio.py", "--quiet", "--num_workers", "2"], ["data/{language}"]),
    "F0": Stage(["scripts/fill_f0_cache.py", "--num_workers", "2"], ["data/{language}/cache"]),
    "units": Stage(
        ["src/extract_units.py", "--encoder", "mfcc", "--n_units", "40", "--n_shard_utterances", "5", "--quiet"]
        + ["--num_workers", "1", "--resume", "auto"],
        ["exp/{language}_units"],
    ),
    "unit report": Stage(["src/validate_units.py"], ["exp/{language}_units"]),
    "motifs": Stage(["src/train_bpe.py", "--resume", "auto", "--examples_audio", "5"], ["exp/{language}_bpe"]),
    "voice": Stage(["src/trainer_vocoder.py", *SMALL, *VOICE], ["exp/{language}_vocoder_v4", "data/{language}/cache"]),
    "prosody": Stage(
        ["src/trainer_prosody.py", *SMALL, "--channels", "32", "--init", "none"],
        ["exp/{language}_prosody", "data/{language}/cache"],
    ),
    "unit LM": Stage(
        ["src/trainer_unit_lm.py", *SMALL, "--layers", "1", "--width", "32", "--heads", "2", "--context", "64"],
        ["exp/{language}_unit_lm"],
    ),
    "scores": Stage(["src/vocoder_test.py", "--exp", "{exp}/{language}_vocoder_v4"], ["exp/{language}_vocoder_v4"]),
    "report": Stage(["src/build_report.py", "{exp}/{language}_vocoder_v4"], ["exp/{language}_vocoder_v4"]),
    "speech": Stage(
        ["src/synthesize.py", "--exp", "{exp}/{language}_vocoder_v4", "--split", "test", "--out", "{out}/spoken"]
        + ["--units", "{exp}/{language}_units/corpus_timestamped.json"],
        ["out/spoken"],
    ),
    "saved voice": Stage(
        ["src/export_vocoder.py", "--exp", "{exp}/{language}_vocoder_v4", "--out", "{out}/voice", "--overwrite"],
        ["out/voice"],
    ),
    "annotations": Stage(["src/export_annotations.py", "--format", "eaf", "--out", "{out}/eaf"], ["out/eaf"]),
    "exchange": Stage(
        ["src/export_units.py", "--format", "csv", "--out", "{out}/exchange", "--overwrite"], ["out/exchange"]
    ),
    "index": Stage(["src/index_speech.py"], ["exp/{language}_index"]),
    "phrases": Stage(["src/find_phrases.py", "--out", "{out}/dictionary"], ["out/dictionary"]),
    "tars": Stage(["scripts/pack_audio.py", "--shard_clips", "5"], ["data/{language}"]),
}
# These take no --language.
WITHOUT_LANGUAGE = ("vocoder_test.py", "build_report.py", "synthesize.py", "export_vocoder.py")


class Tally(NamedTuple):
    """What the check of a stage found."""

    seconds: float  # of the undisturbed run
    n_kills: dict[str, int]  # by signal
    n_whole: int  # runs that ended, after kills, and were compared
    n_files: int
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
    group.add_argument("--n_recordings", type=int, default=4, help="recordings to work on, the shortest ones")
    group.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    group.add_argument("--work", type=Path, help="folder for the throw-away folder; by default the system's")
    args = parse_flags(parser, argv)
    require_positive(args, "n_kills", "n_recordings")
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
    (root / "exp").mkdir()
    (root / "out").mkdir()
    if found := find_table(paths["speakers"]):
        shutil.copy2(found, data / found.name)


def fill_in(words: Sequence[str], language: str, root: Path) -> list[str]:
    places = {"language": language, "exp": root / "exp", "out": root / "out"}
    return [word.format(**places) for word in words]


def start(stage: Stage, language: str, root: Path) -> int:
    """Start a stage below ``root`` in a copy of this process, which leads a process group; returns its number."""
    words = fill_in(stage.command, language, root)
    if Path(words[0]).name not in WITHOUT_LANGUAGE:
        words += ["--language", language]
    process = os.fork()
    if process == 0:
        _be_script(words, root)
    return process


def _be_script(words: list[str], root: Path) -> None:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        screen = os.open(root.with_name("screen.txt"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(screen, 1)
        os.dup2(screen, 2)
        os.environ |= {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TQDM_DISABLE": "1", "TAG": ""}
        sys.argv, sys.path[0] = words, str(REPOSITORY / Path(words[0]).parent)
        runpy.run_path(str(REPOSITORY / words[0]), run_name="__main__")
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
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
        raise UserError(f"{stage.command[0]}: expected exit code 0, found {code}; the end of its screen:\n{tail}")


def put_back(folders: Sequence[str], source: Path, target: Path) -> None:
    """Make ``folders`` below ``target`` what they are below ``source``."""
    for name in folders:
        shutil.rmtree(target / name, ignore_errors=True)
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


def compare(folders: Sequence[str], roots: Sequence[Path]) -> tuple[int, list[str]]:
    """How many files of a stage were compared, and where they differ."""
    pairs = [folder_differences(roots[0] / name, roots[1] / name, tuple(roots)) for name in folders]
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


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def check_all(args: argparse.Namespace, roots: Sequence[Path]) -> bool:
    """Check every stage that is asked for, and run the others; whether all was equal."""
    equal = True
    for name, stage in STAGES.items():
        if name not in args.stages:
            require_success(await_end(start(stage, args.language, roots[0]), None, 0), stage, roots[0])
            put_back(fill_in(stage.writes, args.language, roots[0]), roots[0], roots[1])
            continue
        moments = random.Random(f"{args.seed} {name}")
        tally = check_stage(stage, args.language, roots, args.n_kills, moments)
        said = "yes" if not tally.differences else f"no: {len(tally.differences)} differ"
        kills = ", ".join(str(n_kills) for n_kills in tally.n_kills.values())
        print_row(name, f"{tally.seconds:.1f}", kills, tally.n_whole, tally.n_files, said)
        for difference in tally.differences[:SHOWN]:
            print(f"{name}: {difference}", file=sys.stderr)
        equal = equal and not tally.differences
        if name == args.stages[-1]:
            break
    return equal


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    args.stages = [name for name in STAGES if name in args.stages]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    torch.set_num_threads(1)
    for name in IMPORTED:
        __import__(name)
    work = Path(tempfile.mkdtemp(prefix="check_interruption_", dir=args.work))
    roots = [work / "undisturbed", work / "interrupted"]
    for root in roots:
        link_inputs(args.language, root, args.n_recordings)
    print(f"{data_root()}: the {args.n_recordings} shortest recordings of {args.language}", file=sys.stderr)
    print_row("stage", "undisturbed (s)", f"killed by {', '.join(SIGNALS)}", "runs compared", "files", "equal")
    print_row(*["---"] * 6)
    if not check_all(args, roots):
        print(f"kept for a look: {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    run_main(main)
