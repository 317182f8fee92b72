"""The flags of a vocoder's training, in groups, and what is refused of them."""

import argparse
import math

from core.cli import require_not_negative, require_positive, require_share
from core.device import add_deterministic_flag
from core.errors import UserError
from core.frames import frames_to_samples
from languages import DEFAULT_GENERATOR
from models.discriminator_v3 import FURTHER, longest_window
from training.checkpoints import LARGEST_EMA_DECAY
from training.flags import add_patience_flag, check_training_flags
from training.initial_weights import NOISE, add_init_flag
from training.schedule import ADVERSARIAL_SHARE, REGRESSION_STEPS
from vocoder.generators import GENERATORS
from vocoder.heard_features import DEAF, OWN
from vocoder.losses import MEL_WINDOWS
from vocoder.size_flags import read_sizes

CROPS_ON_CPU, CROPS_ON_GPU = 16, 64  # a step of 64 takes a GPU as long as one of 16 (docs/results/speed.md)
# The schedule where no flag says it.
FROM_NOISE = {
    "lr": 1e-3,
    "warmup": 50,
    "unit_lr": 1.0,
    "discriminator_share": 1.0,
    "mel_weight": 15.0,
    "feature_weight": 2.0,
    "hearing": DEAF,
}
# With --init: little time to learn in, little to break.
FROM_WEIGHTS = FROM_NOISE | {"lr": 2e-3, "warmup": 10, "unit_lr": 25.0}
# Where the weights bring a discriminator, which knows speech already: what it says counts more, nearness less.
WITH_DISCRIMINATOR = {
    "adversarial_after": 0.3,
    "discriminator_share": 0.5,
    "mel_weight": 4.0,
    "feature_weight": 6.0,
    "hearing": OWN,
}


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument(
        "--generator", choices=sorted(GENERATORS), default=DEFAULT_GENERATOR, help="version of the generator"
    )
    model.add_argument(
        "--channels", type=int, default=None, help="width of the trunk (default: the version's full size)"
    )
    model.add_argument(
        "--sizes",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="further arguments of the generator's constructor, as in n_blocks=6 bands=80",
    )
    model.add_argument(
        "--condition",
        choices=("units", "logmel"),
        default="units",
        help="what v3 is fed: units, or the original's 80 bands of log-mel, an oracle that shows what the units cost",
    )
    model.add_argument(
        "--random_embeddings", action="store_true", help="do not start unit embeddings from the centroids"
    )
    add_init_flag(model, "the saved voice or experiment")
    model.add_argument("--speaker_embedding", action="store_true", help="learn one voice for each speaker")
    model.add_argument(
        "--speaker_vectors",
        action="store_true",
        help="tell the voice who speaks by a vector computed from each recording, which names no speakers and lets "
        "synthesize.py --voice_of sound like any clip; needs the package resemblyzer",
    )


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    training.add_argument(
        "--batch_size",
        "--bsize",
        type=int,
        default=None,
        help=f"crops a step, over all processes (default: {CROPS_ON_CPU}; on a GPU, which {CROPS_ON_CPU} would leave "
        f"idle, {CROPS_ON_GPU})",
    )
    training.add_argument("--crop_frames", type=int, default=48, help="length of a crop (frames of 20 ms)")
    training.add_argument(
        "--lr",
        type=float,
        default=None,
        help=f"peak learning rate of AdamW (default: {FROM_NOISE['lr']}; with --init {FROM_WEIGHTS['lr']})",
    )
    training.add_argument(
        "--warmup",
        type=int,
        default=None,
        help=f"steps of linear warm-up (default: {FROM_NOISE['warmup']}; with --init {FROM_WEIGHTS['warmup']})",
    )
    training.add_argument(
        "--unit_lr",
        type=float,
        default=None,
        metavar="TIMES",
        help="the unit embeddings' rate, in multiples of --lr: they are around 1, most weights some hundredths "
        f"(default: {FROM_NOISE['unit_lr']:g}; with --init {FROM_WEIGHTS['unit_lr']:g})",
    )
    training.add_argument("--weight_decay", "--wdecay", type=float, default=0.01, help="decoupled weight decay")
    training.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add_patience_flag(training)
    training.add_argument(
        "--mel_windows",
        type=int,
        nargs="+",
        choices=sorted(MEL_WINDOWS),
        default=sorted(MEL_WINDOWS),
        help="windows of the log-mel loss (samples); validation always uses all",
    )
    training.add_argument(
        "--ema", type=float, default=LARGEST_EMA_DECAY, help="largest decay of the averaged weights; 0 = no averaging"
    )
    training.add_argument(
        "--unit_noise", type=float, default=0.0, help="share of the units replaced by any other, against overfitting"
    )
    training.add_argument("--seed", type=int, default=0, help="seed of weights, crops and noise")


def add_adversarial_flags(parser: argparse.ArgumentParser) -> None:
    adversarial = parser.add_argument_group("training against a discriminator")
    adversarial.add_argument(
        "--adversarial_after",
        type=float,
        default=None,
        help="from this share of the planned steps on, or (over 1) from this step on; 1 = never; by default "
        f"{ADVERSARIAL_SHARE}, but not before step {REGRESSION_STEPS}, so that short trainings have none; "
        f"{WITH_DISCRIMINATOR['adversarial_after']} where --init brings a discriminator",
    )
    adversarial.add_argument(
        "--discriminator_lr", type=float, default=5e-4, help="peak learning rate of the discriminator"
    )
    adversarial.add_argument(
        "--discriminator_frames", type=int, default=24, help="what it sees of a crop (frames of 20 ms)"
    )
    adversarial.add_argument(
        "--discriminator_share",
        type=float,
        default=None,
        help=f"share of a step's crops that it sees (default: {FROM_NOISE['discriminator_share']:g}; "
        f"{WITH_DISCRIMINATOR['discriminator_share']:g} where --init brings one)",
    )
    adversarial.add_argument(
        "--discriminator_width", type=int, default=None, help="channels of its widest layer (default: full size)"
    )
    adversarial.add_argument(
        "--discriminator",
        choices=tuple(FURTHER),
        default="small",
        help="of v3 and v4: small, for a CPU; wide or complex: that and wider ones beside it, for a GPU; a voice that "
        "starts from such a training takes the small one along",
    )
    for name, term in (("mel_weight", "the log-mel loss"), ("feature_weight", "feature matching")):
        adversarial.add_argument(
            f"--{name}",
            type=float,
            default=None,
            help=f"weight of {term} next to it (default: {FROM_NOISE[name]:g}; {WITH_DISCRIMINATOR[name]:g} where "
            "--init brings one)",
        )
    adversarial.add_argument(
        "--hearing",
        default=None,
        metavar="WHISPER",
        help="a small Whisper that hears the crops a discriminator would see: what its layers tell apart counts too; "
        "own: the layers that this repository brings; none: nobody; else a folder or hub id (default: "
        f"{FROM_NOISE['hearing']}; {WITH_DISCRIMINATOR['hearing']} where --init brings a discriminator and the run has "
        "3 minutes or 300 steps)",
    )
    adversarial.add_argument("--hearing_weight", type=float, default=3.0, help="weight of what --hearing tells apart")


def add_sample_flags(watching: argparse._ArgumentGroup) -> None:
    watching.add_argument("--sample_every", type=int, default=1000, help="steps between sample recordings")
    watching.add_argument("--num_samples", type=int, default=4, help="recordings in each sampling")


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--mixed_precision",
        choices=("auto", "no", "bf16", "fp16"),
        default="auto",
        help="autocast of the models; auto: bf16 where the device computes in it, fp16 on other GPUs",
    )
    machine.add_argument("--compile", action="store_true", help="compile the generator with torch.compile")
    machine.add_argument(
        "--no_graph",
        action="store_true",
        help="on a GPU, launch every kernel of a step by itself; else a step is recorded once as a CUDA graph, which "
        "is several times as fast (never with --compile, fp16 or several processes)",
    )
    machine.add_argument(
        "--num_workers", "--nj", type=int, default=None, help="reading threads (default: 0 on a CPU, else 4)"
    )
    machine.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    add_deterministic_flag(machine)


def check_args(args: argparse.Namespace) -> None:
    """Refuse what cannot be obeyed."""
    check_training_flags(args)
    require_positive(args, "channels", "crop_frames", "sample_every", "validation_seconds")
    require_positive(args, "discriminator_frames", "discriminator_width")
    require_not_negative(args, "num_samples", "num_workers", "adversarial_after", "unit_lr", "discriminator_lr")
    require_not_negative(args, "mel_weight", "feature_weight", "hearing_weight")
    require_share(args, "ema", "unit_noise")
    if args.discriminator_share is not None and not 0 < args.discriminator_share <= 1:
        raise UserError(f"--discriminator_share {args.discriminator_share}: expected a number above 0, up to 1")
    channels = chosen_sizes(args).get("channels", 32)
    if args.generator in ("v1", "v2") and channels % 32:
        raise UserError(f"--channels {channels}: expected a multiple of 32 for {args.generator}")
    seen = min(args.discriminator_frames, args.crop_frames)
    longest = longest_window(args.discriminator)
    if args.generator in ("v3", "v4") and args.adversarial_after != 1 and frames_to_samples(seen) < longest:
        raise UserError(
            f"--discriminator_frames {args.discriminator_frames}, --crop_frames {args.crop_frames}: expected at least "
            f"{math.ceil(longest / frames_to_samples(1))} for the discriminator's longest window"
        )
    if args.generator not in ("v3", "v4") and args.discriminator != "small":
        raise UserError(f"--discriminator {args.discriminator}: is of v3 and v4; {args.generator} has HiFi-GAN's own")
    if args.init not in (None, NOISE) and args.random_embeddings:
        raise UserError("--random_embeddings: --init gives the units their embeddings; leave one of the two out")
    if args.speaker_embedding and args.speaker_vectors:
        raise UserError("--speaker_embedding and --speaker_vectors: a voice knows speakers in one way; give one")
    if args.generator != "v3" and args.condition != "units":
        raise UserError(f"--condition {args.condition}: the oracle is v3's; {args.generator} is fed units only")


def chosen_sizes(args: argparse.Namespace) -> dict[str, object]:
    """What --channels and --sizes say, checked against the generator's constructor."""
    sizes = read_sizes(GENERATORS[args.generator], args.sizes)
    if args.channels and "channels" in sizes:
        raise UserError("--channels and --sizes channels=… say the same; give one")
    return sizes | ({"channels": args.channels} if args.channels else {})


def choose_condition(args: argparse.Namespace) -> dict[str, object]:
    return {"condition": args.condition} if args.condition != "units" else {}
