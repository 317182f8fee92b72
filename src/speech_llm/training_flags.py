"""The flags of a training of speech to text, in groups, and what is refused of them."""

import argparse
from pathlib import Path

from core.cli import require_not_negative, require_positive, require_share
from core.device import add_deterministic_flag
from core.errors import UserError
from speech_llm.decoding import (
    CHARACTER_BONUS,
    CTC_WEIGHT,
    DECODERS,
    JOINT_BEAMS,
    LOOK_AHEAD,
    default_beams,
    refuse_decoding,
)
from speech_llm.flag_checks import (
    check_connector,
    check_merging,
    check_more_data,
    check_phases,
    settle_sizes,
    settle_top_rate,
)
from speech_llm.folds import HELD_OUT, parse_fold
from speech_llm.prepared_data import choose_data

DEFAULT_STEPS = 3000
DEFAULT_WARMUP = 50  # steps, and no more than its phase has
LARGEST_SEED = 2**32 - 1  # that NumPy takes


def add_training_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=int, default=None, help=f"updates in all (default: {DEFAULT_STEPS})")
    group.add_argument("--max_minutes", type=float, default=None, help="wall time; becomes a number of steps")
    group.add_argument("--lr", type=float, default=2e-4, help="peak learning rate of AdamW")
    group.add_argument("--lora_lr", type=float, default=None, help="of LoRA (default: --lr)")
    group.add_argument(
        "--weight_decay", "--wdecay", type=float, default=0.01, help="decoupled weight decay of matrices"
    )
    group.add_argument(
        "--warmup", type=int, default=None, help=f"steps of linear warm-up, in each phase (default: {DEFAULT_WARMUP})"
    )
    group.add_argument("--batch_size", "--bsize", type=int, default=16, help="utterances a batch (at most)")
    group.add_argument(
        "--max_positions",
        type=int,
        default=None,
        help="LLM positions a batch, padding included (default: what the device's memory holds)",
    )
    group.add_argument(
        "--ctc_batch_size",
        "--ctc_bsize",
        type=int,
        default=None,
        help="utterances a batch of CTC (default: --batch_size)",
    )
    group.add_argument(
        "--ctc_max_positions",
        type=int,
        default=None,
        help="connector positions a batch of CTC, padding included (default: --ctc_batch_size of the longest)",
    )
    group.add_argument("--gradient_accumulation_steps", type=int, default=1, help="batches a process and step")
    group.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    group.add_argument("--label_smoothing", type=float, default=0.0, help="of the answer tokens")
    group.add_argument("--frame_dropout", type=float, default=0.0, help="share of frames set to zero, in spans")
    group.add_argument("--speed_perturb", action="store_true", help="speeds .9, 1 and 1.1, each cached once")
    group.add_argument(
        "--noise_perturb",
        type=int,
        default=0,
        help="noisy copies of each training utterance, cached once; a batch holds the original or one of them",
    )
    group.add_argument(
        "--patience",
        *("--early_stopping", "--early_stopping_patience"),
        type=int,
        default=0,
        help="evaluations without gain after which the training ends, once the LLM takes part; 0: never",
    )
    group.add_argument("--shuffle", action="store_true", help="an order of its own for each epoch, as is always so")
    group.add_argument("--shuffle_audio", action="store_true", help="the control: texts with others' audio")
    group.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation")


def add_generation_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--decoder", choices=DECODERS, default=None, help="default: joint with a CTC head, else llm")
    group.add_argument(
        "--num_beams", type=int, default=None, help=f"1: greedy (default: {JOINT_BEAMS} in joint decoding, else 1)"
    )
    group.add_argument(
        "--n_best", type=int, default=1, help="hypotheses kept an utterance; checkpoints kept are two: latest and best"
    )
    group.add_argument("--ctc_weight", type=float, default=CTC_WEIGHT, help="of the CTC head's nats in joint decoding")
    group.add_argument(
        "--ctc_temperature",
        type=float,
        default=1.0,
        help="of the head's posteriors in joint decoding; above 1 for a head that is too sure",
    )
    group.add_argument(
        "--character_bonus", type=float, default=CHARACTER_BONUS, help="nats a character in joint decoding"
    )
    group.add_argument(
        "--look_ahead",
        type=float,
        default=LOOK_AHEAD,
        help="share of the head's expected nats that a text is given up to its place in the speech, so that texts "
        "which stall do not win; 0: none",
    )
    group.add_argument(
        "--mend",
        action="store_true",
        help="in joint decoding, put words of the head's reading, or other tokens, where that raises the text's score",
    )
    group.add_argument("--no_mend", dest="mend", action="store_false", help="leave the text as the search found it")
    group.add_argument(
        "--ensemble",
        type=Path,
        nargs="+",
        default=[],
        help="with --do_generate: average the CTC heads of these trained models with its own; what is written is "
        "ensemble_<split>_predictions.json",
    )
    group.add_argument("--length_penalty", type=float, default=0.0, help="exponent of the length in beam search")
    group.add_argument("--generate_batch_size", "--generate_bsize", type=int, default=8, help="utterances a batch")


def add_machine_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--mixed_precision", choices=("auto", "no", "bf16"), default="auto", help="of frozen models")
    group.add_argument("--num_workers", "--nj", type=int, default=2, help="threads that read ahead; 0: none")
    group.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    add_deterministic_flag(group)


def check_args(args: argparse.Namespace) -> None:
    """Fill in what follows from other flags; refuse what cannot be obeyed."""
    if not (args.do_train or args.do_generate):
        raise UserError("nothing to do: give --do_train, --do_generate or both")
    args.data = choose_data(args.data, args.language)
    if args.limit_eval_steps is not None:
        require_positive(args, "limit_eval_steps")
        args.max_validation = args.limit_eval_steps * args.batch_size
    if args.steps is not None and args.max_minutes is not None:
        raise UserError("--steps and --max_minutes exclude each other; give one")
    if args.steps is None and args.max_minutes is None:
        args.steps = DEFAULT_STEPS
    if args.ensemble and not args.do_generate:
        raise UserError("--ensemble: says whose heads write, and needs --do_generate")
    check_fold(args)
    args.more_data = [Path(data) for data in args.more_data]
    check_more_data(args.more_data, args.data_weights, args.front_end)
    check_numbers(args)
    if args.do_train:
        check_phases(args.steps, args.ctc_warmup_steps, args.warmup)
    args.warmup = DEFAULT_WARMUP if args.warmup is None else args.warmup
    check_ctc(args)
    check_front_end(args)
    settle_connector(args)
    check_lora(args)
    check_text_only(args)


def check_numbers(args: argparse.Namespace) -> None:
    counts = ("batch_size", "ctc_batch_size", "generate_batch_size", "max_validation", "max_train")
    require_positive(args, "max_positions", "ctc_max_positions", "merge_frames")
    require_positive(args, *counts, "log_every", "eval_every", "save_every", "gradient_accumulation_steps")
    require_positive(args, "steps", "max_minutes", "factor", "width", "n_layers", "n_heads", "feedforward")
    require_positive(args, "num_beams", "n_best", "lr", "ctc_lr", "lora_lr", "top_lr_share", "lora_alpha", "clip")
    require_positive(args, "ctc_temperature")
    require_not_negative(args, "lora_r", "warmup", "ctc_warmup_steps", "ctc_loss_weight", "draft_noise", "patience")
    require_not_negative(
        args,
        "noise_perturb",
        "look_ahead",
        "ctc_consistency",
        "weight_decay",
        "num_workers",
        "seed",
        "speech_enc_layer",
    )
    require_share(args, "dropout", "lora_dropout", "frame_dropout", "label_smoothing")
    if args.seed > LARGEST_SEED:
        raise UserError(f"--seed {args.seed}: expected at most {LARGEST_SEED}")


def trains_ctc(args: argparse.Namespace) -> bool:
    return args.ctc_warmup_steps > 0 or bool(args.ctc_loss_weight) or args.text_only


def check_fold(args: argparse.Namespace) -> None:
    """With a fold the test split is not touched: settings are chosen before it is read."""
    if args.fold is not None:
        parse_fold(args.fold)
        if args.test_splits not in (None, [HELD_OUT]):
            raise UserError(
                f"--fold transcribes what it holds out; leave --test_splits {' '.join(args.test_splits)} out"
            )
    args.test_splits = args.test_splits or [HELD_OUT if args.fold else "test"]


def check_ctc(args: argparse.Namespace) -> None:
    """A CTC head is there where it is trained; ``ctc_loss_weight`` and ``decoder`` follow from it."""
    has_head = trains_ctc(args)
    if not has_head and (args.ctc_compress or args.ctc_embedding or args.ctc_draft):
        raise UserError("--ctc_compress, --ctc_embedding and --ctc_draft need a CTC head: give --ctc_warmup_steps")
    if args.ctc_tokens and not (args.ctc_compress and args.ctc_embedding):
        raise UserError("--ctc_tokens is a kind of --ctc_compress and --ctc_embedding: give both")
    if args.draft_noise and not (args.ctc_draft or args.ctc_tokens):
        raise UserError("--draft_noise needs --ctc_draft or --ctc_tokens")
    if args.ctc_consistency and not args.ctc_warmup_steps:
        raise UserError("--ctc_consistency: of the steps of CTC alone; give --ctc_warmup_steps")
    if args.text_only and args.ctc_loss_weight:
        raise UserError("--text_only: the head stays as it is; leave --ctc_loss_weight out")
    if args.text_only and not (args.ctc_warmup_steps or args.from_pretrained):
        raise UserError("--text_only needs a head that hears: give --from_pretrained or --ctc_warmup_steps")
    if args.ctc_loss_weight is None:
        args.ctc_loss_weight = 0.3 if has_head and not args.text_only else 0.0
    if args.decoder is None:
        args.decoder = "joint" if has_head else "llm"
    if args.num_beams is None:
        args.num_beams = default_beams(args.decoder)
    refuse_decoding(
        has_head, decoder=args.decoder, num_beams=args.num_beams, n_best=args.n_best, ctc_weight=args.ctc_weight
    )


def check_front_end(args: argparse.Namespace) -> None:
    if args.front_end != "features" and args.units_exp is None:
        raise UserError(f"--front_end {args.front_end} needs --units_exp, the folder of a finished phase 1")
    if (args.front_end == "bpe") != (args.bpe_exp is not None):
        raise UserError("--front_end bpe and --bpe_exp, the folder of a finished phase 2, belong together")
    for flag in ("speed_perturb", "noise_perturb", "frame_dropout"):
        if args.front_end != "features" and getattr(args, flag):
            raise UserError(f"--{flag} changes audio or its features; --front_end {args.front_end} reads units")


def settle_connector(args: argparse.Namespace) -> None:
    """Sizes that follow from the kind, and from the encoder where its own layers are trained."""
    names = ("width", "n_heads", "feedforward", "norm", "speech_enc_layer")
    given = {name: getattr(args, name) for name in names}
    vars(args).update(
        settle_sizes(args.connector, args.speech_enc_id, args.n_layers, front_end=args.front_end, given=given)
    )
    args.top_lr_share = settle_top_rate(args.connector, args.top_lr_share)
    check_merging(args.connector, args.merge_frames, args.factor)
    shape = {name: getattr(args, name) for name in ("n_heads", "feedforward", "norm", "no_positions")}
    check_connector(args.connector, args.width, **shape)


def check_lora(args: argparse.Namespace) -> None:
    for flag in ("lora_alpha", "lora_lr"):
        if getattr(args, flag) is not None and not args.lora_r:
            raise UserError(f"--{flag} needs --lora_r, the rank of the adaptation")


def check_text_only(args: argparse.Namespace) -> None:
    """An LLM that reads no audio needs a head that hears, and learns by LoRA alone."""
    if args.text_only and not args.lora_r:
        raise UserError("--text_only: the LLM learns the transcripts by LoRA; give --lora_r")
    if args.text_only and args.ctc_draft:
        raise UserError("--text_only: the LLM reads nothing of the audio, no draft either; leave --ctc_draft out")
