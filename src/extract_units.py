"""Phase 1: segments -> discrete acoustic units at 50 Hz.

A first pass encodes a random sample of the training split and fits k-means on it; a second one streams over every
segment and writes its units, shard by shard. Memory does not grow with the corpus. A run that was killed goes on from
its last complete shard and ends with the same bytes, and so do the stages of a run when they are jobs of their own.

    python src/extract_units.py --language spanish
    torchrun --nproc_per_node 4 src/extract_units.py --language satere --mixed_precision bf16
    python scripts/launch.py submit --shards 16 -- src/extract_units.py --language satere
"""

import argparse
import datetime
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from accelerate import Accelerator

from core.cli import HELP_FORMATTER, add_experiment_flags, configure_log, parse_flags, run_main
from core.errors import UserError
from core.frames import UNIT_RATE
from encoders.encode import describe_encoder, load_encoder
from languages import add_language_flags, data_root, language_config, language_paths
from launching.extraction_jobs import STAGES, resolve_part
from segmentation.manifest import check_manifest
from training.experiment import is_finished, open_experiment
from training.processes import start_accelerator
from units.extraction_stages import (
    CARRIED_OUT,
    assign_units,
    describe_fit,
    encoder_options,
    fit_clusters,
    merge,
    sample_features,
)
from units.kmeans import NORMALIZATIONS, load_kmeans, read_description, save_kmeans, unit_counts

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PATIENCE = datetime.timedelta(days=2)  # the other processes wait this long while one fits k-means

log = logging.getLogger("oral_units")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_encoder_flags(parser.add_argument_group("encoder"))
    add_kmeans_flags(parser.add_argument_group("k-means"))
    add_execution_flags(parser.add_argument_group("execution"))
    add_stage_flags(parser.add_argument_group("stages as jobs, submitted by scripts/launch.py submit --shards N"))
    return resolve_defaults(parse_flags(parser, argv))


def add_encoder_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoder",
        help="'mfcc', or a Hugging Face speech encoder by hub id or folder (wav2vec 2.0, XLS-R, MMS, HuBERT, WavLM, "
        "Whisper); by default the language's",
    )
    group.add_argument(
        "--layer", type=int, help="hidden layer to read, 0 = what enters the first; by default the language's"
    )
    group.add_argument(
        "--window_seconds",
        type=float,
        default=30.0,
        help="longer segments are encoded in windows of this length (s); Whisper's are never longer than its own 30 s",
    )
    group.add_argument("--overlap_seconds", type=float, default=2.0, help="least overlap of neighbouring windows (s)")
    group.add_argument(
        "--cmn",
        action="store_true",
        help="mfcc: subtract each segment's mean cepstrum, which evens out speakers and microphones",
    )
    group.add_argument(
        "--context", type=int, default=0, help="mfcc: put this many neighbours on either side beside each frame"
    )


def add_kmeans_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--n_units", type=int, help="clusters a stream; by default the language's")
    group.add_argument(
        "--n_streams",
        type=int,
        help="k-means in a row, each on what the one before leaves over: more detail, more bits a second; by default 1",
    )
    group.add_argument("--kmeans_frames", type=int, default=200_000, help="training frames to fit on; 50 are a second")
    group.add_argument(
        "--normalize",
        default="unit",
        choices=NORMALIZATIONS,
        help="divide every feature by its standard deviation (unit), by the root of that (root: between the two), or "
        "by nothing (off) before clustering",
    )
    group.add_argument(
        "--kmeans",
        type=Path,
        metavar="FILE",
        help="use these clusters, another language's kmeans.npz for example, instead of fitting",
    )
    group.add_argument(
        "--trust_pickle",
        action="store_true",
        help="let --kmeans read a .pkl, which can run any code: only from someone you trust",
    )
    group.add_argument("--seed", type=int, default=0, help="of the sample, the fit and Whisper's random offsets")


def add_execution_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--mixed_precision", default="no", choices=PRECISIONS, help="precision of the encoder")
    group.add_argument("--cpu", action="store_true", help="do not use an accelerator")
    group.add_argument("--max_batch_seconds", type=float, default=120.0, help="padded audio in a batch (s)")
    group.add_argument(
        "--n_shard_utterances", type=int, default=200, help="segments a shard: the most that a killed run loses"
    )
    group.add_argument(
        "--num_workers",
        type=int,
        default=os.cpu_count() or 1,
        help="threads that read audio, and compute mfcc, in each process",
    )
    group.add_argument(
        "--max_failed",
        type=float,
        default=5.0,
        help="unreadable segments are skipped and named; over this share (%%) of them the run stops with exit code 3",
    )
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def add_stage_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--stage",
        choices=STAGES,
        help="do one stage of the run alone: sample and assign as arrays of --shards jobs, fit and merge as one job "
        "each, every one of them after the one before; a job that failed is run again alone",
    )
    group.add_argument("--shards", type=int, metavar="N", help="jobs that share the work of this stage; by default 1")
    group.add_argument(
        "--shard_index",
        type=int,
        metavar="I",
        help="which of them this is, from 0 to N - 1; by default SLURM_ARRAY_TASK_ID, or SGE_TASK_ID - 1",
    )


def resolve_defaults(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in the language's encoder, layer and number of units where the flags leave them open."""
    config = language_config(args.language)
    args.encoder = args.encoder or config["encoder"]
    if args.layer is None and args.encoder == config["encoder"]:
        args.layer = config["layer"]
    if args.kmeans is None:
        args.n_units = config["n_units"] if args.n_units is None else args.n_units
        args.n_streams = 1 if args.n_streams is None else args.n_streams
        if args.trust_pickle:
            raise UserError("--trust_pickle: expected --kmeans FILE beside it; leave it out")
    for name in ("n_units", "n_streams", "kmeans_frames", "max_batch_seconds", "n_shard_utterances", "num_workers"):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise UserError(f"--{name}: expected a number above 0, found {getattr(args, name)}")
    return resolve_part(args)


def start_processes(args: argparse.Namespace) -> Accelerator:
    if args.encoder == "mfcc":
        torch.set_num_threads(1)  # the threads of --num_workers share the cores already
    return start_accelerator(cpu=args.cpu or args.encoder == "mfcc", patience=PATIENCE)


def start_run(args: argparse.Namespace, accelerator: Accelerator) -> dict:
    """The encoder on its device, and how to carry out the passes (units.extraction_passes)."""
    encoder = load_encoder(
        args.encoder,
        args.layer,
        accelerator.device,
        PRECISIONS[args.mixed_precision],
        max_batch_seconds=args.max_batch_seconds,
        **encoder_options(args),
    )
    return {
        "encoder": encoder,
        "data_root": data_root(),
        "seed": args.seed,
        "n_shard_utterances": args.n_shard_utterances,
        "num_workers": args.num_workers,
        "quiet": args.quiet,
        "rank": args.shard_index + args.shards * accelerator.process_index,
        "n_ranks": args.shards * accelerator.num_processes,
    }


def read_given_kmeans(args: argparse.Namespace) -> dict | None:
    """The clusters of --kmeans, checked against the encoder and the numbers asked for, which they settle."""
    if args.kmeans is None:
        return None
    kmeans = load_kmeans(args.kmeans, trust_pickle=args.trust_pickle)
    n_units, n_streams = unit_counts(kmeans)
    for name, asked, found in (("n_units", args.n_units, n_units), ("n_streams", args.n_streams, n_streams)):
        if asked not in (None, found):
            raise UserError(f"{args.kmeans}: expected --{name} {asked}, found {found}; leave the flag out")
    description, wanted = read_description(kmeans), describe_fit(args)
    if description not in (None, wanted):
        raise UserError(
            f"{args.kmeans}: made with {description}, asked for {wanted}; give the same encoder and options"
        )
    args.n_units, args.n_streams = n_units, n_streams
    return kmeans


def enter_experiment(args: argparse.Namespace, exp: Path, manifest: Path) -> str:
    """Check what can be checked without work, so that a mistake leaves no folder behind; then open the folder."""
    description = describe_encoder(args.encoder, args.layer)
    totals = check_manifest(manifest, data_root(), needs_train=args.kmeans is None)
    n_frames = min(totals["train_frames"], args.kmeans_frames)
    if args.kmeans is None and n_frames < args.n_units:
        raise UserError(
            f"{manifest}: expected at least {args.n_units} training frames for {args.n_units} units, found {n_frames}; "
            "give fewer --n_units, more --kmeans_frames or more audio"
        )
    derived = {
        "language": args.language,
        "encoder": args.encoder,
        "layer": description["layer"],
        "encoder_options": encoder_options(args),
        "n_units": args.n_units,
        "n_streams": args.n_streams,
        "unit_rate": UNIT_RATE,
        "manifest": str(manifest),
        "data_root": str(data_root()),
    }
    inputs = [manifest] if args.kmeans is None else [manifest, args.kmeans]
    shared = args.stage is not None
    return open_experiment(exp, vars(args), inputs=inputs, derived=derived, ignore=CARRIED_OUT, shared=shared)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    paths = language_paths(args.language, args.tag)
    exp, manifest = args.exp or paths["units"], paths["manifest"]
    accelerator = start_processes(args)
    is_main = accelerator.is_main_process
    configure_log(quiet=not is_main)
    given_kmeans = read_given_kmeans(args)
    if is_main:
        log.info("%s: %s", exp, enter_experiment(args, exp, manifest))
    accelerator.wait_for_everyone()
    if is_finished(exp):
        log.info("%s: already finished with the same configuration", exp)
        return 0
    stages = STAGES if args.stage is None else (args.stage,)
    if is_main and ("fit" in stages or "merge" in stages):
        configure_log(exp / "train.log")
    run = start_run(args, accelerator) if {"sample", "assign"} & {*stages} else {}
    fitted = (exp / "kmeans.npz").exists()
    accelerator.wait_for_everyone()
    if "sample" in stages and given_kmeans is None and not fitted:
        sample_features(args, exp, manifest, run)
    accelerator.wait_for_everyone()
    if "fit" in stages and is_main and given_kmeans is not None:
        save_kmeans(exp, given_kmeans, describe_fit(args))
    elif "fit" in stages and is_main and not fitted:
        fit_clusters(args, exp, manifest)
    accelerator.wait_for_everyone()
    if "assign" in stages:
        assign_units(args, exp, manifest, run)
    accelerator.wait_for_everyone()
    if "merge" in stages and is_main:
        merge(args, exp, manifest)
    return 0


if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --max_batch_seconds 30")
