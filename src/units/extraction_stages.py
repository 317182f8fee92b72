"""The four stages of phase 1: sample features, fit k-means, assign units, merge. In one process, in several, in arrays.

``args`` are the flags of src/extract_units.py, ``exp`` its folder. Sampling and assigning share their work between jobs
and processes, as ``run`` says (units.extraction_passes), and fill the shards in exp/fit and exp/shards; fitting and
merging are done by one process and refuse a shard that is missing, damaged or of another run.
"""

import argparse
import logging
import shutil
from pathlib import Path

from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.files import hash_files
from languages import data_root
from segmentation.manifest import check_manifest, plan_sample, read_manifest, sample_rows
from training.experiment import hash_arguments, mark_finished, remove_torn
from units.extraction_passes import assign_pass, fit_pass
from units.kmeans import fit_kmeans, load_kmeans, save_kmeans
from units.shards import find_problems, gather_features, merge_shards, read_failures, shard_path

NAMED_FAILURES = 20
NAMED_SHARDS = 8
# Flags that say how a run is carried out, beside those of every experiment.
CARRIED_OUT = {"max_failed", "stage", "shards", "shard_index"}

log = logging.getLogger("oral_units")


def encoder_options(args: argparse.Namespace) -> dict:
    """What ``load_encoder`` needs beside name and layer to make the same features again."""
    return {
        "window_seconds": args.window_seconds,
        "overlap_seconds": args.overlap_seconds,
        "subtract_mean": args.cmn,
        "context": args.context,
    }


def describe_fit(args: argparse.Namespace) -> dict:
    return {"encoder": args.encoder, "layer": args.layer, "options": encoder_options(args)}


def describe_origin(args: argparse.Namespace, manifest: Path, **files: Path) -> dict[str, str]:
    """What a shard is made from, as hashes: two runs can use each other's shards where all of them are equal."""
    origin = {"configuration": hash_arguments(vars(args), CARRIED_OUT), "manifest": hash_files([manifest])}
    return origin | {name: hash_files([path]) for name, path in files.items()}


def plan_fit(args: argparse.Namespace, manifest: Path) -> dict:
    train_frames = check_manifest(manifest, data_root())["train_frames"]
    return plan_sample(manifest, train_frames, args.kmeans_frames, args.seed)


def sample_features(args: argparse.Namespace, exp: Path, manifest: Path, run: dict) -> None:
    """First pass: the features of a sample of the training split."""
    plan = plan_fit(args, manifest)
    say_if_idle(plan["n_utterances"], args)
    run = run | {"origin": describe_origin(args, manifest)}
    fit_pass(run, lambda: sample_rows(manifest, plan), exp / "fit", plan["frame_share"])


def fit_clusters(args: argparse.Namespace, exp: Path, manifest: Path) -> None:
    """k-means on the whole sample, in one process: writes kmeans.pkl and kmeans.npz."""
    n_utterances = plan_fit(args, manifest)["n_utterances"]
    n_shards = count_shards(n_utterances, args)
    require_shards(exp / "fit", ".npy", n_shards, describe_origin(args, manifest), args)
    check_failures(read_failures(exp / "fit", n_shards), n_utterances, args, exp)
    features = gather_features([shard_path(exp / "fit", index, ".npy") for index in range(n_shards)])
    log.info("fitting %d x %d clusters on %d frames", args.n_streams, args.n_units, len(features))
    kmeans = fit_kmeans(features, args.n_units, n_streams=args.n_streams, normalize=args.normalize, seed=args.seed)
    save_kmeans(exp, kmeans, describe_fit(args))


def assign_units(args: argparse.Namespace, exp: Path, manifest: Path, run: dict) -> None:
    """Second pass: the units of every segment."""
    kmeans_file = require_clusters(exp)
    say_if_idle(check_manifest(manifest, data_root(), needs_train=False)["n_utterances"], args)
    run = run | {"origin": describe_origin(args, manifest, kmeans=kmeans_file)}
    assign_pass(run, lambda: read_manifest(manifest), exp / "shards", load_kmeans(kmeans_file), exp / "fit")


def require_clusters(exp: Path) -> Path:
    path = exp / "kmeans.npz"
    if not path.exists():
        raise UserError(f"{path}: expected the clusters of a finished fit, found none; run --stage fit first")
    return path


def say_if_idle(n_utterances: int, args: argparse.Namespace) -> None:
    if args.shard_index >= count_shards(n_utterances, args):
        log.warning(
            "nothing to do for job %d of %d: %d segments, --n_shard_utterances %d at a time",
            args.shard_index,
            args.shards,
            n_utterances,
            args.n_shard_utterances,
        )


def count_shards(n_utterances: int, args: argparse.Namespace) -> int:
    return -(-n_utterances // args.n_shard_utterances)


def require_shards(folder: Path, suffix: str, n_shards: int, origin: dict, args: argparse.Namespace) -> None:
    """Refuse to go on from shards that are missing, foreign or damaged; says which jobs to run again."""
    problems = find_problems(folder, suffix, n_shards, origin)
    if not problems:
        return
    named = [f"{index:04d} is {problem}" for index, problem in [*problems.items()][:NAMED_SHARDS]]
    stage = "sample" if suffix == ".npy" else "assign"
    jobs = sorted({index % args.shards for index in problems if index < n_shards})
    again = [f"--stage {stage} --shards {args.shards} --shard_index {job}" for job in jobs[:NAMED_SHARDS]]
    beyond = [f"deleting {folder}/{index:04d}.*" for index in problems if index >= n_shards][:NAMED_SHARDS]
    raise UserError(
        f"{folder}: expected {n_shards} finished shards of this run, found {len(problems)} that are not "
        f"({', '.join(named)}{', …' if len(problems) > len(named) else ''}); run again, after "
        f"{', after '.join(beyond + again)}"
    )


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
    raise SystemExit(EXIT_SOME_FAILED)


def merge(args: argparse.Namespace, exp: Path, manifest: Path) -> None:
    """Every shard into corpus_timestamped.json; the run is finished from here on."""
    n_utterances = check_manifest(manifest, data_root(), needs_train=False)["n_utterances"]
    n_shards = count_shards(n_utterances, args)
    origin = describe_origin(args, manifest, kmeans=require_clusters(exp))
    require_shards(exp / "shards", ".jsonl", n_shards, origin, args)
    failures = read_failures(exp / "shards", n_shards)
    check_failures(failures, n_utterances, args, exp)
    summary = merge_shards(exp / "shards", exp / "corpus_timestamped.json", n_shards, args.n_units, args.n_streams)
    summary |= {"n_failed": len(failures), "failed": failures}
    mark_finished(exp, summary)
    for leftover in ("fit", "shards"):
        shutil.rmtree(exp / leftover, ignore_errors=True)
    remove_torn(exp)
    report(summary, args, exp)


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
