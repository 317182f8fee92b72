"""The vocoders side by side: what they cost, and how they sound after the same wall time of training.

    python scripts/bench/bench_vocoder.py --stage speed --languages spanish
    python scripts/bench/bench_vocoder.py --stage speed --languages spanish --versions v2 v3 v4 --train_repetitions 0
    python scripts/bench/bench_vocoder.py --stage speed --languages spanish --device cuda --train_steps 40
    python scripts/bench/bench_vocoder.py --stage quality --languages spanish english --minutes 8 --asr FOLDER --mos
    python scripts/bench/bench_vocoder.py --stage ablations --languages spanish --minutes 4 --asr FOLDER

Systems take turns within each repetition, so that ratios are of one run. Every training is an experiment of its own
under --out and goes on where it stopped; what is trained and scored already is only read. Written: JSON and, ready for
docs/results/, Markdown. Needs phase 1 of every language.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from comparison_tables import describe_run, quality_tables, speed_table
from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from generator_cost import macs_a_second, measure_alone, measure_synthesis, run_measured
from languages import REPOSITORY, exp_root, language_paths
from training.experiment import describe_environment, read_metrics, require_finished
from vocoder.generators import GENERATORS, build_generator

SOURCE_FILTERS = ("v3", "v4")
SHORT_STEPS = 10  # their steps are so much shorter that they take this many for one of the others'
STEPS_BETWEEN_WAITS = 20  # of training on a GPU: every row waits for it, and so would every step
# HiFi-GAN's steps take a CPU so long that 16 crops would leave it a few dozen updates in the minutes given.
HIFIGAN_ON_CPU = ("--batch_size", "4", "--warmup", "10")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SYSTEMS = {
    "v3": (),
    "v2": (),
    "v1": (),
    "v2_small": (),  # as narrow as costs no less than V3 (its --channels is found by counting); judged as V2 is
    "v2_regression": ("--adversarial_after", "1"),
    "v3_regression": ("--adversarial_after", "1"),
    "v3_logmel": ("--condition", "logmel"),
    "v4": (),
    "v4_regression": ("--adversarial_after", "1"),
}
# name: (flags of src/extract_units.py, which make units of their own; flags of src/trainer_vocoder.py)
ABLATIONS = {
    "base": ((), ()),
    "another_seed": ((), ("--seed", "1")),  # what chance alone moves
    "adversarial_never": ((), ("--adversarial_after", "1")),
    "adversarial_0.2": ((), ("--adversarial_after", "0.2")),
    "adversarial_0.7": ((), ("--adversarial_after", "0.7")),
    "random_embeddings": ((), ("--random_embeddings",)),
    "no_harmonics": ((), ("--sizes", "harmonic=0")),
    "pitch_bins": ((), ("--sizes", "pitch=bins")),
    "pitch_value": ((), ("--sizes", "pitch=value")),
    "mel_1024": ((), ("--mel_windows", "1024")),
    "mel_512_1024_2048": ((), ("--mel_windows", "512", "1024", "2048")),
    "no_ema": ((), ("--ema", "0")),
    "unit_noise_0.1": ((), ("--unit_noise", "0.1")),
    "3_blocks": ((), ("--sizes", "n_blocks=3")),
    "160_channels": ((), ("--channels", "160")),
    "units_50": (("--n_units", "50"), ()),
    "units_100": (("--n_units", "100"), ()),
    "units_500": (("--n_units", "500"), ()),
    "units_2_streams": (("--n_streams", "2"), ()),
    "units_whisper_4": (("--encoder", "WHISPER", "--layer", "4"), ()),
    "logmel": ((), ("--condition", "logmel")),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_choice_flags(parser)
    add_speed_flags(parser)
    add_judge_flags(parser)
    parser.add_argument("trainer_flags", nargs="*", help="after '--': further flags for every training")
    args = parse_flags(parser, argv)
    require_positive(args, "minutes", "repetitions", "seconds", "channels")
    require_not_negative(args, "train_repetitions")
    if args.clock == "cpu" and (args.threads != [1] or args.device == "cuda"):
        raise UserError("--clock cpu: counts the work of one core; give --threads 1 with it, and no --device cuda")
    if args.train_steps < 2:
        raise UserError(f"--train_steps {args.train_steps}: expected at least 2, as the first is not counted")
    args.device = choose_device(args.device)
    # What a CPU has measured or trained already is no answer for a GPU.
    args.out = args.out or exp_root() / ("bench_vocoder" if args.device == "cpu" else f"bench_vocoder_{args.device}")
    return args


def add_choice_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to measure")
    group.add_argument("--stage", choices=("speed", "quality", "ablations", "all"), default="all", help="part to run")
    group.add_argument("--languages", nargs="+", default=["spanish"], help="quality: each; speed, ablations: the first")
    group.add_argument("--tag", default="", help="suffix of phase 1's experiments")
    group.add_argument("--versions", nargs="+", choices=sorted(GENERATORS), default=sorted(GENERATORS), help="vocoders")
    group.add_argument("--systems", nargs="+", choices=SYSTEMS, help="quality: these only (default: all of --versions)")
    group.add_argument(
        "--ablations", nargs="+", choices=ABLATIONS, default=list(ABLATIONS), help="ablations: these only"
    )
    group.add_argument("--minutes", type=float, default=8.0, help="wall time of each training (minutes)")
    group.add_argument("--out", type=Path, help="folder for everything (exp/bench_vocoder, exp/bench_vocoder_cuda)")
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to speak and to train")
    group.add_argument("--overwrite", action="store_true", help="measure speed again where it is measured already")


def add_speed_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed")
    group.add_argument("--repetitions", type=int, default=5, help="turns; the median is reported")
    group.add_argument("--seconds", type=float, default=10.0, help="length of the utterance spoken (s)")
    group.add_argument(
        "--train_steps",
        type=int,
        default=3,
        help="steps of a training turn, v3 and v4: ten times as many; 40 for a GPU",
    )
    group.add_argument("--train_repetitions", type=int, default=2, help="turns of training; 0: only speak")
    group.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="cores to speak on")
    group.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="how speaking is timed; cpu: seconds of work on one core, for a machine that others use too",
    )
    group.add_argument("--channels", type=int, default=None, help="narrow every version, to try the script")


def add_judge_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("judges (of src/vocoder_test.py)")
    group.add_argument("--asr", metavar="FOLDER_OR_ID", help="a Whisper, for CER and WER")
    group.add_argument("--mos", action="store_true", help="predict MOS with DistillMOS")
    group.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="checkpoint to judge")
    group.add_argument("--whisper", default=os.environ.get("ORAL_UNITS_WHISPER"), help="for units_whisper_4")


def machine_flags(args: argparse.Namespace) -> list[str]:
    """What keeps a training on the device that is measured."""
    return ["--cpu"] if args.device == "cpu" else []


def training_threads() -> str:
    return os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())


def run_script(script: str, flags: Sequence[object]) -> float:
    """Run ``src/<script>`` with ``flags``; returns its peak resident memory (MiB). Raises UserError where it fails."""
    command = [sys.executable, str(REPOSITORY / "src" / script), *map(str, flags)]
    environment = {"OMP_NUM_THREADS": training_threads(), "OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    return run_measured(command, environment)["peak_mib"]


def describe_units(args: argparse.Namespace) -> tuple[int, int]:
    """Units and streams of the first language's phase 1."""
    units = language_paths(args.languages[0], args.tag)["units"]
    require_finished(units, phase="phase 1", command=f"bash scripts/run_phase1.sh {args.languages[0]}")
    derived = read_json(units / "config.json")["derived"]
    return derived["n_units"], derived["n_streams"]


def small_v2_channels(n_units: int, n_streams: int, v3_sizes: dict[str, int]) -> int:
    """The narrowest V2 that costs no less than V3."""
    sizes = {"n_units": n_units, "n_streams": n_streams}
    target = macs_a_second(build_generator("v3", sizes | v3_sizes), n_units, n_streams)
    for channels in itertools.count(32, 32):
        if macs_a_second(build_generator("v2", sizes | {"channels": channels}), n_units, n_streams) >= target:
            return channels


# Speed
def speed_systems(args: argparse.Namespace) -> dict[str, tuple[str, dict[str, int]]]:
    """Version and constructor's arguments by name; with V2 and V3 there is also V2 at V3's cost."""
    (n_units, n_streams), narrow = describe_units(args), {"channels": args.channels} if args.channels else {}
    sizes = {"n_units": n_units, "n_streams": n_streams} | narrow
    systems = {version: (version, sizes) for version in args.versions}
    if {"v2", "v3"} <= set(args.versions):
        systems["v2_small"] = ("v2", sizes | {"channels": small_v2_channels(n_units, n_streams, narrow)})
    return systems


def measure_speed(args: argparse.Namespace) -> dict[str, object]:
    """The content of speed.json."""
    systems = speed_systems(args)
    environment = describe_environment() | {"load_average": os.getloadavg()}
    # Training first: while this process is small, the peak of a child it starts is the child's own.
    training = measure_training(args, systems)
    context, costs = multiprocessing.get_context("spawn"), {}
    for name, (version, sizes) in systems.items():
        with ProcessPoolExecutor(1, mp_context=context) as fresh:
            costs[name] = fresh.submit(measure_alone, version, sizes, args.seconds, args.device).result()._asdict()
    synthesis = measure_synthesis(
        systems,
        args.seconds,
        repetitions=args.repetitions,
        device=args.device,
        threads=args.threads,
        clock=CLOCKS[args.clock],
    )
    return {"environment": environment, "training": training, **costs, "synthesis": synthesis}


def measure_training(args: argparse.Namespace, systems: dict[str, tuple[str, dict[str, int]]]) -> dict[str, dict]:
    """{system: {"without": [s of audio a second …], "with": […], "without_mib", "with_mib"}} of the trainer itself.

    Empty without repetitions.
    """
    if not args.train_repetitions:
        return {}
    kinds = {"without": 1, "with": 0}  # --adversarial_after
    speeds = {name: {kind: [] for kind in kinds} for name in systems}
    peaks = {name: dict.fromkeys((f"{kind}_mib" for kind in kinds), 0) for name in systems}
    turns = itertools.product(range(args.train_repetitions), systems.items(), kinds.items())
    for _, (name, (version, sizes)), (kind, after) in turns:
        flags = ["--generator", version, "--adversarial_after", after]
        flags += ["--channels", sizes["channels"]] if "channels" in sizes else []
        steps = args.train_steps * (SHORT_STEPS if version in SOURCE_FILTERS else 1)
        speed, peak = time_training(args, args.out / "speed" / f"{name}_{kind}", steps, flags)
        speeds[name][kind] += speed
        peaks[name][f"{kind}_mib"] = max(peak, peaks[name][f"{kind}_mib"])
    return {name: speeds[name] | peaks[name] for name in systems}


def time_training(
    args: argparse.Namespace, exp: Path, steps: int, flags: Sequence[object]
) -> tuple[list[float], float]:
    """Train ``steps`` steps: seconds of audio a second, step by step but for the first, and the peak memory (MiB)."""
    run = ["--language", args.languages[0], "--tag", args.tag, "--exp", exp, "--overwrite", "--steps", steps]
    run += ["--log_every", 1 if args.device == "cpu" else min(steps // 2, STEPS_BETWEEN_WAITS)]
    run += ["--validation_seconds", 1, "--num_samples", 0, *machine_flags(args)]
    peak = run_script("trainer_vocoder.py", [*run, *flags, *args.trainer_flags])
    rows = [row for row in read_metrics(exp) if "audio_seconds_per_second" in row]
    peak = peak if args.device == "cpu" else max(row["gpu_peak_mib"] for row in rows)
    return [row["audio_seconds_per_second"] for row in rows[1:]], peak


# Quality
def train(args: argparse.Namespace, language: str, exp: Path, flags: Sequence[object], *, tag: str) -> None:
    """Train for --minutes, or go on, or leave what is finished."""
    run = ["--language", language, "--tag", tag, "--exp", exp, "--resume", "auto", "--max_minutes", args.minutes]
    run_script("trainer_vocoder.py", [*run, *machine_flags(args), *flags, *args.trainer_flags])


def measure_quality(args: argparse.Namespace) -> None:
    chosen = args.systems or [name for name in SYSTEMS if name.split("_")[0] in args.versions]
    for language in args.languages:
        folder, exps = args.out / f"{language}_{args.minutes:g}min", []
        for name in chosen:
            version = name.split("_")[0]
            flags = ["--generator", version, *SYSTEMS[name]]
            flags += HIFIGAN_ON_CPU if args.device == "cpu" and version not in SOURCE_FILTERS else ()
            if name == "v2_small":
                flags += ["--channels", small_v2_channels(*describe_units(args), {})]
            train(args, language, folder / name, flags, tag=args.tag)
            exps.append(folder / name)
        report(args, f"{language}, {args.minutes:g} minutes of training", folder, exps)


def measure_ablations(args: argparse.Namespace) -> None:
    language, exps = args.languages[0], []
    folder = args.out / f"ablations_{language}_{args.minutes:g}min"
    for name in args.ablations:
        unit_flags, flags = ABLATIONS[name]
        if "WHISPER" in unit_flags and not args.whisper:
            print(f"{name}: left out, as it needs --whisper FOLDER (or ORAL_UNITS_WHISPER)")
            continue
        tag = "_".join(filter(None, (args.tag, f"ablation_{name}"))) if unit_flags else args.tag
        if unit_flags:
            units = [args.whisper if word == "WHISPER" else word for word in unit_flags]
            run_script("extract_units.py", ["--language", language, "--tag", tag, "--resume", "auto", *units])
        train(args, language, folder / name, flags, tag=tag)
        exps.append(folder / name)
    report(args, f"ablations, {language}, {args.minutes:g} minutes of training", folder, exps)


def report(args: argparse.Namespace, title: str, folder: Path, exps: list[Path]) -> None:
    """Score what is not scored yet, and write the tables."""
    judges = (["--asr", args.asr] if args.asr else []) + (["--mos"] if args.mos else [])
    run_script("vocoder_test.py", ["--exp", *exps, "--checkpoint", args.checkpoint, *judges])
    publish(title, folder / "quality.md", quality_tables(exps))


def publish(title: str, path: Path, table: str, environment: dict[str, object] | None = None) -> None:
    """Write and print a table with the command, commit and machine it comes from."""
    here = environment or describe_environment() | {"load_average": os.getloadavg()}
    text = f"### {title}\n\n{describe_run(**here, training_threads=training_threads())}\n\n{table}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(f"\n{text}\nwrote {path}")


def main() -> None:
    args = parse_args()
    stages = ("speed", "quality", "ablations") if args.stage == "all" else (args.stage,)
    describe_units(args)
    if "speed" in stages:
        known = args.out / "speed.json"
        if args.overwrite or not known.exists():
            write_json(known, measure_speed(args))
        else:
            print(f"{known}: measured already; --overwrite measures again")
        found = read_json(known)
        environment = found.pop("environment")
        publish("what the vocoders cost", args.out / "speed.md", speed_table(**found), environment)
    if "quality" in stages:
        measure_quality(args)
    if "ablations" in stages:
        measure_ablations(args)


if __name__ == "__main__":
    run_main(main)
