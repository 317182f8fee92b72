"""Phase 1: segments -> discrete acoustic units at 50 Hz.

A first pass encodes a random sample of the training split and fits k-means on it; a second one streams over every
segment and writes its units, shard by shard. Memory does not grow with the corpus. A run that was killed goes on from
its last complete shard and ends with the same bytes.

    python src/extract_units.py --language spanish
    torchrun --nproc_per_node 4 src/extract_units.py --language satere --mixed_precision bf16
"""

import argparse
import datetime
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from accelerate import Accelerator, InitProcessGroupKwargs

from cli import HELP_FORMATTER, add_experiment_flags, add_language_flags, configure_log, parse_flags, run_main
from errors import UserError
from frames import UNIT_RATE
from languages import data_root, language_config, language_paths
from speech.encoders import describe_encoder, load_encoder
from training.experiment import is_finished, mark_finished, open_experiment
from training.extraction import assign_pass, fit_pass
from units.corpus import write_corpus
from units.kmeans import NORMALIZATIONS, fit_kmeans, load_kmeans, read_description, save_kmeans, unit_counts
from units.manifest import check_manifest, plan_sample, read_manifest, sample_rows
from units.shards import count_units, entropy_bits, gather_features, read_failures, read_lines, shard_path

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PATIENCE = datetime.timedelta(days=2)  # the other processes wait this long while one fits k-means
NAMED_FAILURES = 20
EXIT_TOO_MANY_FAILED = 3

log = logging.getLogger("oral_units")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_encoder_flags(parser.add_argument_group("encoder"))
    add_kmeans_flags(parser.add_argument_group("k-means"))
    add_execution_flags(parser.add_argument_group("execution"))
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
    return args


def encoder_options(args: argparse.Namespace) -> dict:
    """What ``load_encoder`` needs beside name and layer to make the same features again."""
    return {
        "window_seconds": args.window_seconds,
        "overlap_seconds": args.overlap_seconds,
        "subtract_mean": args.cmn,
        "context": args.context,
    }


def start_accelerator(args: argparse.Namespace) -> Accelerator:
    if args.encoder == "mfcc":
        torch.set_num_threads(1)  # the threads of --num_workers share the cores already
    return Accelerator(
        cpu=args.cpu or args.encoder == "mfcc", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]
    )


def start_run(args: argparse.Namespace, accelerator: Accelerator) -> dict:
    """The encoder on its device, and how to carry out the passes (training.extraction)."""
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
        "rank": accelerator.process_index,
        "n_ranks": accelerator.num_processes,
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


def describe_fit(args: argparse.Namespace) -> dict:
    return {"encoder": args.encoder, "layer": args.layer, "options": encoder_options(args)}


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
    return open_experiment(exp, args, inputs=inputs, derived=derived, ignore={"max_failed"})


def fit_clusters(args: argparse.Namespace, exp: Path, manifest: Path, run: dict, accelerator: Accelerator) -> None:
    """First pass: sample the training split, fit k-means in the main process, write kmeans.pkl and kmeans.npz."""
    train_frames = check_manifest(manifest, data_root())["train_frames"]
    plan = plan_sample(manifest, train_frames, args.kmeans_frames, args.seed)
    fit_pass(run, lambda: sample_rows(manifest, plan), exp / "fit", plan["frame_share"])
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    n_shards = count_shards(plan["n_utterances"], args)
    check_failures(read_failures(exp / "fit", n_shards), plan["n_utterances"], args, exp)
    features = gather_features([shard_path(exp / "fit", index, ".npy") for index in range(n_shards)])
    log.info("fitting %d x %d clusters on %d frames", args.n_streams, args.n_units, len(features))
    kmeans = fit_kmeans(features, args.n_units, n_streams=args.n_streams, normalize=args.normalize, seed=args.seed)
    save_kmeans(exp, kmeans, describe_fit(args))


def count_shards(n_utterances: int, args: argparse.Namespace) -> int:
    return -(-n_utterances // args.n_shard_utterances)


def check_failures(failures: list[dict], n_utterances: int, args: argparse.Namespace, exp: Path) -> None:
    """Name what failed; over --max_failed stop, leaving nothing behind that a rerun would take for done."""
    for failure in failures[:NAMED_FAILURES]:
        log.warning("skipped %s: %s", failure["id"], failure["reason"])
    if len(failures) > NAMED_FAILURES:
        log.warning("… and %d more", len(failures) - NAMED_FAILURES)
    if 100 * len(failures) <= args.max_failed * n_utterances:
        return
    log.error(
        "error: %d of %d segments failed, more than --max_failed %g %%; repair the audio or the manifest, or raise it",
        len(failures),
        n_utterances,
        args.max_failed,
    )
    for name in ("fit", "shards"):
        shutil.rmtree(exp / name, ignore_errors=True)
    for name in ("kmeans.npz", "kmeans.pkl"):
        (exp / name).unlink(missing_ok=True)
    raise SystemExit(EXIT_TOO_MANY_FAILED)


def merge_shards(args: argparse.Namespace, exp: Path, n_utterances: int) -> dict:
    """Every shard into corpus_timestamped.json, in the order of the manifest; returns the summary."""
    n_shards = count_shards(n_utterances, args)
    failures = read_failures(exp / "shards", n_shards)
    check_failures(failures, n_utterances, args, exp)
    counts, seconds = np.zeros((args.n_streams, args.n_units), np.int64), 0.0

    def utterances() -> Iterator[dict]:
        nonlocal seconds
        for index in range(n_shards):
            for utterance in read_lines(shard_path(exp / "shards", index, ".jsonl")):
                count_units(counts, utterance)
                seconds += utterance["duration"]
                yield utterance

    n_written = write_corpus(exp / "corpus_timestamped.json", utterances())
    rates = counts.sum(axis=1) / max(seconds, 1e-9)
    return {
        "n_utterances": n_written,
        "hours": round(seconds / 3600, 4),
        "n_failed": len(failures),
        "failed": failures,
        "units_used": [int((stream > 0).sum()) for stream in counts],
        "units_per_second": round(float(rates[0]), 3),
        "bits_per_second": round(sum(float(rate) * entropy_bits(stream) for rate, stream in zip(rates, counts)), 2),
    }


def report(summary: dict, args: argparse.Namespace, exp: Path) -> None:
    log.info(
        "%s: %d utterances, %.2f h, %d skipped; %s of %d units used, %.1f units/s, %.0f bits/s",
        exp / "corpus_timestamped.json",
        summary["n_utterances"],
        summary["hours"],
        summary["n_failed"],
        " and ".join(map(str, summary["units_used"])),
        args.n_units,
        summary["units_per_second"],
        summary["bits_per_second"],
    )
    tag = f" --tag {args.tag}" if args.tag else ""
    log.info("next: python src/train_bpe.py --language %s%s", args.language, tag)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    paths = language_paths(args.language, args.tag)
    exp, manifest = args.exp or paths["units"], paths["manifest"]
    accelerator = start_accelerator(args)
    configure_log(quiet=not accelerator.is_main_process)
    given_kmeans = read_given_kmeans(args)
    if accelerator.is_main_process:
        log.info("%s: %s", exp, enter_experiment(args, exp, manifest))
    accelerator.wait_for_everyone()
    if is_finished(exp):
        log.info("%s: already finished with the same configuration", exp)
        return 0
    if accelerator.is_main_process:
        configure_log(exp / "train.log")
        for torn in exp.rglob(".*.tmp"):  # what a killed run was writing
            torn.unlink()
    run = start_run(args, accelerator)
    if given_kmeans is not None and accelerator.is_main_process:
        save_kmeans(exp, given_kmeans, describe_fit(args))
    accelerator.wait_for_everyone()
    if not (exp / "kmeans.npz").exists():
        fit_clusters(args, exp, manifest, run, accelerator)
    accelerator.wait_for_everyone()
    n_utterances = check_manifest(manifest, data_root(), needs_train=False)["n_utterances"]
    assign_pass(run, lambda: read_manifest(manifest), exp / "shards", load_kmeans(exp / "kmeans.npz"), exp / "fit")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        summary = merge_shards(args, exp, n_utterances)
        mark_finished(exp, summary)
        for leftover in ("fit", "shards"):
            shutil.rmtree(exp / leftover, ignore_errors=True)
        report(summary, args, exp)
    return 0


if __name__ == "__main__":
    run_main(main)
