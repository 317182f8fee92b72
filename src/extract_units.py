# %% [markdown]
# # Phase 1: segments -> discrete acoustic units at 50 Hz
#
# A first pass encodes a random sample of the training split and fits k-means on it. A second one streams over every
# segment and writes its units, shard by shard. Memory does not grow with the corpus. A run that was killed continues
# from its last complete shard and ends with the same bytes; so do the stages of a run when they are jobs of their own.
#
# ```
# python src/extract_units.py --language spanish
# torchrun --nproc_per_node 4 src/extract_units.py --language satere --mixed_precision bf16
# python scripts/launch.py submit --shards 16 -- src/extract_units.py --language satere
# ```

# %%
import core.quiet_start

import argparse
import datetime
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from accelerate import Accelerator

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_not_negative,
    require_positive,
    run_main,
    says_next,
)
from core.commands import as_typed
from core.errors import UserError
from core.frames import UNIT_RATE
from core.locks import only_run
from core.records import EncoderOrigin
from encoders.encode import Encoder, load_encoder
from encoders.table import (
    OWN_ENCODERS,
    describe_encoder,
    feature_widths,
    name_encoder,
    parse_features,
    stays_on_cpu,
)
from languages import add_language_flags, data_root, language_config, language_paths
from segmentation.manifest import GROUPS, check_manifest, plan_sample, read_manifest, sample_rows
from training.experiment import hash_arguments, is_finished, open_experiment
from training.processes import start_accelerator
from units.denoising import STEPS as AUGMENT_STEPS
from units.denoising import fit_denoiser
from units.denoising_copies import COPIES_SECONDS, read_copies
from units.extraction_parts import ARRAY_STAGES, STAGES, resolve_part
from units.extraction_passes import Workload, assign_pass, fit_pass
from units.extraction_stages import (
    FIT_FOLDER,
    UNITS_FOLDER,
    describe_origin,
    finish_extraction,
    finished_shards,
    require_clusters,
    warn_if_idle,
)
from units.kmeans import (
    NORMALIZATIONS,
    SPEAKER_NORMALIZATIONS,
    UnitClusters,
    fit_kmeans,
    load_kmeans,
    read_description,
    read_duration_penalty,
    refit_on_paths,
    save_kmeans,
    unit_counts,
)
from units.shards import gather_features, read_speakers

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# k-means is fitted on so many frames a unit, and on this many at least; beyond that centroids hardly move.
FRAMES_A_UNIT, LEAST_FRAMES = 256, 200_000
PATIENCE = datetime.timedelta(days=2)  # the other processes wait this long while one fits k-means
# Flags that, besides those of every experiment, change nothing in what is computed.
JOB_FLAGS = {"max_failed", "stage", "shards", "shard_index"}

log = logging.getLogger("oral_units")

# %% [markdown]
# ## Arguments
#
# - **Encoder, layer, units**: the language's (`src/languages.py`). Cepstra need no download; XLS-R gives better units
#   where there are many speakers or few minutes.
# - **256 frames a unit to fit on**, 200,000 at least: over an hour; beyond that the centroids hardly move.
# - **1000 units of cepstra, scaled by the root of their deviation**: words survive better than with 200 of unit
#   variance, on three languages (docs/results/units.md). Features of models are scaled to unit variance: else the one
#   with the largest variance decides alone.
# - **Noise is not learned** unless asked for (`--augment`): it costs minutes, and clean units change a little
#   (docs/results/noise.md).
# - **No duration penalty**: at equal units it costs words (docs/results/units.md); it pays where units are counted,
#   searched or predicted.
# - **Windows of 30 s**: attention costs the square of the length, and Whisper cannot see more.
# - **200 segments a shard**: the most that a killed run loses.


# %%
SPARSEST_UNITS = 16  # training frames a unit; fewer, and it stands for single sounds of single recordings

EVERYDAY_FLAGS = (
    *("language", "tag", "exp", "resume", "overwrite", "encoder", "layer", "n_units", "n_streams", "duration_penalty"),
    *("kmeans_frames", "augment", "seed", "max_batch_seconds", "cpu"),
)


DESCRIPTION = """Phase 1: turn segments into acoustic units, one every 20 ms.

Reads the segments of a language (data/<language>/segments.jsonl). Writes exp/<language>_units/ with
corpus_timestamped.json (the units), kmeans.npz (the clusters) and config.json.

    python src/extract_units.py --language spanish

More: docs/phase1.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_encoder_flags(parser.add_argument_group("encoder"))
    add_kmeans_flags(parser.add_argument_group("k-means"))
    add_execution_flags(parser.add_argument_group("execution"))
    add_stage_flags(parser.add_argument_group("stages as jobs, submitted by scripts/launch.py submit --shards N"))
    return resolve_defaults(parse_flags(parser, argv, everyday=EVERYDAY_FLAGS))


def add_encoder_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoder",
        help=f"{', '.join(map(name_encoder, OWN_ENCODERS))}, or a Hugging Face speech encoder by hub id or folder "
        "(wav2vec 2.0, XLS-R, MMS, HuBERT, mHuBERT, WavLM, Whisper); by default the language's",
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
        "--context", type=int, default=0, help="mfcc: put this many neighbours on either side next to each frame"
    )
    group.add_argument(
        "--add_features",
        nargs="+",
        default=[],
        metavar="ENCODER[@LAYER]",
        help="put the features of these next to the encoder's, all with the same total variance: mfcc, or another "
        "layer of the same model",
    )
    group.add_argument(
        "--separate_streams",
        action="store_true",
        help="with --add_features: --n_streams streams for the encoder's features, and as many for each further set, "
        "instead of clustering all together",
    )


def add_kmeans_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--n_units",
        type=int,
        help="clusters a stream; by default the language's, and no more than one for every "
        f"{SPARSEST_UNITS} training frames",
    )
    group.add_argument(
        "--n_streams",
        type=int,
        help="k-means in a row, each on what the one before leaves over: more detail, more bits a second; by default 1",
    )
    group.add_argument(
        "--kmeans_frames",
        type=int,
        help=f"training frames to fit on; 50 are a second; by default {FRAMES_A_UNIT} a unit, {LEAST_FRAMES} at least",
    )
    group.add_argument(
        "--sample_evenly",
        choices=GROUPS,
        help="fit on as much of each speaker, or of each language, instead of each in proportion to what there is: "
        "where one of them has most of the hours",
    )
    group.add_argument(
        "--normalize",
        choices=NORMALIZATIONS,
        help="divide every feature by its standard deviation (unit), by the root of that (root: between the two), or "
        "by nothing (off) before clustering; speaker and speaker_root: the same after each speaker's own mean and "
        "deviation are taken away; by default root for mfcc and logmel, unit for models",
    )
    group.add_argument(
        "--duration_penalty",
        type=float,
        help="what a change of unit costs, in squared distances between neighbouring centroids: 1 ends most "
        "flicker, 0 takes the nearest centroid of each frame alone; by default 0, with --kmeans what the clusters say",
    )
    group.add_argument(
        "--augment",
        action="store_true",
        help="learn what noise, rooms and codecs do to the features, from disturbed copies of the training split, so "
        "that units of a noisy recording are nearly those of a clean one; mfcc and logmel, minutes on one core",
    )
    group.add_argument(
        "--augment_steps",
        type=int,
        help=f"with --augment: steps that its network is trained for; by default {AUGMENT_STEPS}",
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


def count_frames_to_fit(n_units: int) -> int:
    """Training frames that k-means of ``n_units`` is fitted on, where no flag says."""
    return max(LEAST_FRAMES, FRAMES_A_UNIT * n_units)


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
        help="threads that read audio, and compute encoders without a download, in each process",
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
    """Fill in what the flags leave open: the language's encoder, layer and number of units, and the job's part."""
    config = language_config(args.language)
    args.encoder = args.encoder or config["encoder"]
    if args.layer is None and args.encoder == config["encoder"]:
        args.layer = config["layer"]
    if args.kmeans is None:
        args.n_streams = 1 if args.n_streams is None else args.n_streams
        args.duration_penalty = args.duration_penalty or 0.0
        if args.trust_pickle:
            raise UserError("--trust_pickle: expected --kmeans FILE with it; leave it out")
    if args.kmeans_frames is None:
        args.kmeans_frames = count_frames_to_fit(args.n_units or (0 if args.kmeans else config["n_units"]))
    if args.normalize is None:
        cheap = all(stays_on_cpu(name) for name, _ in feature_sets(args))
        args.normalize = "root" if cheap else "unit"
    args.flag_defaults["duration_penalty"] = 0.0  # runs that are older than the flag had none
    require_positive(args, "n_units", "n_streams", "kmeans_frames", "max_batch_seconds", "n_shard_utterances")
    require_positive(args, "num_workers", "augment_steps")
    require_not_negative(args, "duration_penalty")
    if args.separate_streams and (args.kmeans or not args.add_features):
        wanted = "the streams of --kmeans; leave it out" if args.kmeans else "--add_features with it"
        raise UserError(f"--separate_streams: expected {wanted}")
    check_augmentation(args)
    part = resolve_part(args.stage, args.shards, args.shard_index, overwrite=args.overwrite)
    args.shards, args.shard_index = part
    if args.stage:
        args.resume = args.resume or "auto"
    return args


def check_augmentation(args: argparse.Namespace) -> None:
    """Refuse --augment where its network has not been tried, or would cost hours of the encoder."""
    if not args.augment:
        if args.augment_steps is not None:
            raise UserError("--augment_steps: expected --augment with it; leave it out")
        return
    args.augment_steps = args.augment_steps or AUGMENT_STEPS
    dear = [name for name, _ in feature_sets(args) if not stays_on_cpu(name)]
    if dear:
        raise UserError(f"--augment: expected mfcc or logmel, which cost little, found {dear[0]}; leave it out")
    if (args.n_streams or 1) > 1 or args.separate_streams or args.duration_penalty:
        raise UserError("--augment: expected one stream without --duration_penalty; leave one of them out")


# %% [markdown]
# ## The run
#
# What the shards are made from is hashed: a run that continues, or a job of an array, uses only shards of its own
# manifest, flags and clusters.


# %%
def start_processes(args: argparse.Namespace) -> Accelerator:
    cheap = all(stays_on_cpu(name) for name, _ in feature_sets(args))
    if cheap:
        torch.set_num_threads(1)  # the threads of --num_workers share the cores already
    return start_accelerator(cpu=args.cpu or cheap, patience=PATIENCE)


def feature_sets(args: argparse.Namespace) -> list[tuple[str, int | None]]:
    """The encoder and layer of every set of features that stand next to each other."""
    return [(args.encoder, args.layer), *map(parse_features, args.add_features)]


def encoder_options(args: argparse.Namespace) -> dict[str, object]:
    """What ``load_encoder`` needs besides name and layer to make the same features again."""
    options = {
        "window_seconds": args.window_seconds,
        "overlap_seconds": args.overlap_seconds,
        "subtract_mean": args.cmn,
        "context": args.context,
    }
    further = [list(one) for one in feature_sets(args)[1:]]
    return options | ({"add_features": further} if further else {})


def count_streams(args: argparse.Namespace) -> int:
    """Streams in all: ``--n_streams``, of every set of features where they are separate."""
    return args.n_streams * (len(feature_sets(args)) if args.separate_streams else 1)


def describe_clusters(args: argparse.Namespace) -> EncoderOrigin:
    """The description for kmeans.npz; all that encodes new audio reads it, so the same rule holds there."""
    origin = EncoderOrigin(encoder=args.encoder, layer=args.layer, options=encoder_options(args))
    # Clusters of runs without a penalty stay what they were, to the byte.
    return origin | {"duration_penalty": args.duration_penalty} if args.duration_penalty else origin


def open_encoder(args: argparse.Namespace, device: torch.device | str) -> Encoder:
    dtype, batch = PRECISIONS[args.mixed_precision], args.max_batch_seconds
    return load_encoder(args.encoder, args.layer, device, dtype, max_batch_seconds=batch, **encoder_options(args))


def divide_work(args: argparse.Namespace, process: int, n_processes: int) -> Workload:
    """This process's share: processes of a job, and jobs of an array, are dealt shards in turn."""
    return Workload(
        data_root=data_root(),
        n_shard_utterances=args.n_shard_utterances,
        rank=args.shard_index + args.shards * process,
        n_ranks=args.shards * n_processes,
        num_workers=args.num_workers,
        quiet=args.quiet,
    )


def read_given_clusters(args: argparse.Namespace) -> UnitClusters | None:
    """The clusters of --kmeans, checked against the encoder and the numbers asked for, which they settle."""
    if args.kmeans is None:
        return None
    clusters = load_kmeans(args.kmeans, trust_pickle=args.trust_pickle)
    n_units, n_streams = unit_counts(clusters)
    for name, asked, found in (("n_units", args.n_units, n_units), ("n_streams", args.n_streams, n_streams)):
        if asked not in (None, found):
            raise UserError(f"{args.kmeans}: expected --{name} {asked}, found {found}; leave the flag out")
    description = read_description(clusters)
    if args.duration_penalty is None:
        args.duration_penalty = read_duration_penalty(description)
    wanted, same = describe_clusters(args), {"duration_penalty": args.duration_penalty}
    if description is not None and description | same != wanted | same:
        raise UserError(
            f"{args.kmeans}: made with {description}, asked for {wanted}; give the same encoder and options"
        )
    args.n_units, args.n_streams = n_units, n_streams
    check_augmentation(args)
    if args.augment and clusters.denoiser is not None:
        raise UserError(
            f"{args.kmeans}: expected clusters that have not learned noise, found some; leave out --augment"
        )
    return clusters


def default_n_units(language: str, n_frames: int) -> int:
    """The language's number of units, or fewer where there are few frames to fit them on; at least 2."""
    return max(2, min(language_config(language)["n_units"], n_frames // SPARSEST_UNITS))


def enter_experiment(args: argparse.Namespace, exp: Path, manifest: Path) -> str:
    """Check what can be checked without work, so that a mistake leaves no folder behind; then open the folder."""
    description = describe_encoder(args.encoder, args.layer)
    for name, layer in feature_sets(args):
        describe_encoder(name, layer)
    needs_train = args.kmeans is None or args.augment
    train_frames = check_manifest(manifest, data_root(), needs_train=needs_train)["train_frames"]
    n_frames = min(train_frames, args.kmeans_frames)
    if args.n_units is None:
        args.n_units = default_n_units(args.language, n_frames)
    if args.kmeans is None and n_frames < args.n_units:
        raise UserError(
            f"{manifest}: expected at least {args.n_units} training frames for {args.n_units} units, found {n_frames}; "
            "give fewer --n_units, more --kmeans_frames or more audio"
        )
    derived = {
        "language": args.language,
        "encoder": args.encoder,
        "layer": description.layer,
        "encoder_options": encoder_options(args),
        "n_units": args.n_units,
        "n_streams": count_streams(args),
        "duration_penalty": args.duration_penalty,
        "unit_rate": UNIT_RATE,
        "manifest": str(manifest),
        "data_root": str(data_root()),
    }
    inputs = [manifest] if args.kmeans is None else [manifest, args.kmeans]
    shared = args.stage is not None
    return open_experiment(exp, vars(args), inputs=inputs, derived=derived, ignore=JOB_FLAGS, shared=shared)


# %% [markdown]
# ## Four stages
#
# Each can be a job of its own, and the first and the third an array of jobs. k-means is fitted on a random share of the
# clips and of the frames in each. Whisper adds its position to what it hears, so that clips to fit on lie at random
# offsets in its 30 s; those to assign lie at none.


# %%
def sample_features(args: argparse.Namespace, exp: Path, manifest: Path, encoder: Encoder, work: Workload) -> None:
    """First pass: features of a sample of the training split, into exp/fit."""
    n_utterances, share, rows = choose_sample(args, manifest)
    warn_if_idle(n_utterances, args.n_shard_utterances, job=args.shard_index, n_jobs=args.shards)
    origin = describe_origin(hash_flags(args), manifest)
    by_speaker = args.normalize in SPEAKER_NORMALIZATIONS
    fit_pass(encoder, rows, exp / FIT_FOLDER, work, origin, share=share, seed=args.seed, by_speaker=by_speaker)


def choose_sample(args: argparse.Namespace, manifest: Path) -> tuple:
    """How many utterances k-means is fitted on, the share of frames taken from each, and their rows, when called."""
    train_frames = check_manifest(manifest, data_root())["train_frames"]
    # Paths run over neighbouring frames, so a penalty is fitted on whole clips.
    whole = args.duration_penalty > 0
    plan = plan_sample(
        manifest, train_frames, args.kmeans_frames, args.seed, whole_clips=whole, evenly=args.sample_evenly
    )
    return plan["n_utterances"], plan["frame_share"], lambda: sample_rows(manifest, plan)


def hash_flags(args: argparse.Namespace) -> str:
    return hash_arguments(vars(args), JOB_FLAGS)


def fit_clusters(args: argparse.Namespace, exp: Path, manifest: Path) -> UnitClusters:
    """k-means on the whole sample, in one process."""
    n_utterances, _, _ = choose_sample(args, manifest)
    origin = describe_origin(hash_flags(args), manifest)
    shards, _ = finished_shards(exp, FIT_FOLDER, origin, n_utterances=n_utterances, **shard_settings(args))
    features = gather_features(shards)
    spans = read_speakers(shards) if args.normalize in SPEAKER_NORMALIZATIONS else ()
    log.info("fitting %d x %d clusters on %d frames", count_streams(args), args.n_units, len(features))
    clusters = fit_kmeans(
        features,
        args.n_units,
        n_streams=args.n_streams,
        normalize=args.normalize,
        seed=args.seed,
        spans=spans,
        widths=feature_widths(feature_sets(args), context=args.context),
        separate=args.separate_streams,
    )
    return refit_on_paths(features, clusters, args.duration_penalty, spans) if args.duration_penalty else clusters


def learn_noise(args: argparse.Namespace, manifest: Path, clusters: UnitClusters) -> UnitClusters:
    """The clusters with a network before them, trained on disturbed copies of the training split."""
    train_frames = check_manifest(manifest, data_root())["train_frames"]
    share = COPIES_SECONDS * UNIT_RATE / train_frames
    rows = list(sample_rows(manifest, {"clip_share": share, "seed": args.seed}))
    encoder = open_encoder(args, "cpu")
    copies = read_copies(encoder, rows, data_root(), clusters, args.seed, quiet=args.quiet)
    steps = args.augment_steps
    return clusters._replace(denoiser=fit_denoiser(copies, clusters.books[0], args.seed, steps=steps, quiet=args.quiet))


def make_clusters(args: argparse.Namespace, exp: Path, manifest: Path, given: UnitClusters | None) -> None:
    """The fit, or the clusters given; then the noise. Writes kmeans.pkl and kmeans.npz."""
    clusters = given or fit_clusters(args, exp, manifest)
    clusters = learn_noise(args, manifest, clusters) if args.augment else clusters
    save_kmeans(exp, clusters, describe_clusters(args))


def shard_settings(args: argparse.Namespace) -> dict[str, float]:
    return {
        "n_shard_utterances": args.n_shard_utterances,
        "n_jobs": args.shards,
        "max_failed": args.max_failed,
    }


def assign_units(args: argparse.Namespace, exp: Path, manifest: Path, encoder: Encoder, work: Workload) -> None:
    """Second pass: the units of every segment, into exp/shards."""
    kmeans = require_clusters(exp)
    warn_if_idle(count_segments(manifest), args.n_shard_utterances, job=args.shard_index, n_jobs=args.shards)
    origin = describe_origin(hash_flags(args), manifest, kmeans)
    folder, clusters, sampled = exp / UNITS_FOLDER, load_kmeans(kmeans), exp / FIT_FOLDER
    assign_pass(encoder, lambda: read_manifest(manifest), folder, work, origin, clusters=clusters, sampled=sampled)


def count_segments(manifest: Path) -> int:
    return check_manifest(manifest, data_root(), needs_train=False)["n_utterances"]


def merge_shards(args: argparse.Namespace, exp: Path, manifest: Path) -> None:
    """Every shard into corpus_timestamped.json; says what was found and what comes next."""
    origin, settings = describe_origin(hash_flags(args), manifest, require_clusters(exp)), shard_settings(args)
    shards, failed = finished_shards(exp, UNITS_FOLDER, origin, n_utterances=count_segments(manifest), **settings)
    summary = finish_extraction(exp, shards, failed, n_units=args.n_units, n_streams=count_streams(args))
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
    tag = ["--tag", args.tag] if args.tag else []
    if says_next():
        log.info("next: %s", as_typed("python", "src/train_bpe.py", "--language", args.language, *tag))


# %% [markdown]
# ## All of it


# %%
def choose_stages(stage: str | None, *, given: bool, fitted: bool) -> list[str]:
    """The stages to do: all or the one asked for, less those that given or finished clusters make needless."""
    needless = {"sample", "fit"} if fitted else {"sample"} if given else set()
    return [name for name in (STAGES if stage is None else (stage,)) if name not in needless]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    paths = language_paths(args.language, args.tag)
    exp = args.exp or paths["units"]
    # The stages of one run are jobs that share its folder, each with files of its own.
    with only_run(exp, part=f"{args.stage}.{args.shard_index}" if args.stage else ""):
        return extract(args, exp, paths["manifest"])


def extract(args: argparse.Namespace, exp: Path, manifest: Path) -> int:
    accelerator = start_processes(args)
    is_main = accelerator.is_main_process
    configure_log(quiet=not is_main)
    given = read_given_clusters(args)
    if is_main:
        log.info("%s: %s", exp, enter_experiment(args, exp, manifest))
    accelerator.wait_for_everyone()
    if is_finished(exp):
        log.info("%s: already finished with the same configuration", exp)
        return 0
    stages = choose_stages(args.stage, given=given is not None, fitted=(exp / "kmeans.npz").exists())
    accelerator.wait_for_everyone()
    if is_main and not {"fit", "merge"}.isdisjoint(stages):
        configure_log(exp / "train.log")
    encoder = open_encoder(args, accelerator.device) if not {*ARRAY_STAGES}.isdisjoint(stages) else None
    work = divide_work(args, accelerator.process_index, accelerator.num_processes)
    for stage in stages:
        if stage == "sample":
            sample_features(args, exp, manifest, encoder, work)
        elif stage == "assign":
            assign_units(args, exp, manifest, encoder, work)
        elif is_main and stage == "fit":
            make_clusters(args, exp, manifest, given)
        elif is_main:
            merge_shards(args, exp, manifest)
        accelerator.wait_for_everyone()
    return 0


# %% tags=["active-py"]
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --max_batch_seconds 30")

# %% [markdown]
# ## Step by step
#
# In a notebook these cells do what `main` does, one thing at a time, on a few segments. They write nothing.

# %% tags=["active-ipynb"]
# import numpy as np
# from IPython.display import Audio
#
# from core.frames import HOP_SAMPLES, SAMPLE_RATE
# from units.extraction_passes import add_features, read_clip
# from units.kmeans import quantize_to_units
# from units.shards import describe_utterance
#
# args = parse_args(["--language", "spanish", "--n_units", "50"])
# segments = list(read_manifest(language_paths(args.language)["manifest"]))[:20]
# segments[0]

# %% [markdown]
# An encoder: 16 kHz waveforms in, exactly S // 320 frames of features out.

# %% tags=["active-ipynb"]
# encoder = open_encoder(args, "cpu")
# encoder.model

# %% [markdown]
# One batch: audio is read, then encoded together.

# %% tags=["active-ipynb"]
# read = [read_clip(encoder, data_root(), {}, placed) for placed in enumerate(segments)]
# clips = list(add_features(encoder, read))
# [(clip.row["id"], clip.features.shape) for clip in clips]

# %% [markdown]
# k-means over the frames of the training split.

# %% tags=["active-ipynb"]
# features = [clip.features for clip in clips if clip.row["split"] == "train"]
# clusters = fit_kmeans(np.concatenate(features), args.n_units)
# clusters.books[0].shape

# %% [markdown]
# Every frame gets the number of its nearest centroid; runs of one number are one unit with a duration.

# %% tags=["active-ipynb"]
# frame_units = quantize_to_units(clips[0].features, clusters)
# utterance = describe_utterance(clips[0].row, clips[0].n_samples, frame_units)
# list(zip(utterance["units"], utterance["durations"]))

# %% [markdown]
# Listen to all that one unit stands for, frame after frame.

# %% tags=["active-ipynb"]
# unit = utterance["units"][len(utterance["units"]) // 2]
# frames = [clip.waveform[: HOP_SAMPLES * len(clip.features)].reshape(-1, HOP_SAMPLES) for clip in clips]
# heard = [rows[quantize_to_units(clip.features, clusters)[:, 0] == unit] for rows, clip in zip(frames, clips)]
# Audio(np.concatenate(heard).reshape(-1), rate=SAMPLE_RATE)
