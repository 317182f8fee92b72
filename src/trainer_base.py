# %% [markdown]
# # Speech LLM: a frozen speech encoder, a trained connector, an instruction-following LLM
#
# Reads transcribed speech, trains what stands between a frozen encoder and an LLM (and, if asked for, a low-rank
# adaptation of the LLM), and leaves `best/` (what was trained), `checkpoints/latest.pt`, metrics and, with
# `--do_generate`, `<split>_predictions.json` in the experiment folder.
#
# ```
# python src/trainer_base.py --data data/english --out_dir exp/english_llm --speech_enc_id openai/whisper-base \
#     --llm_id HuggingFaceTB/SmolLM2-135M-Instruct --do_train --do_generate --ctc_warmup_steps 600 --lora_r 8
# torchrun --standalone --nproc-per-node=2 src/trainer_base.py …
# ```

# %%
import argparse
import contextlib
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from tqdm import tqdm

from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_positive, run_main
from core.device import choose_precision
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from models.connector import KINDS
from models.speech_llm_model import SpeechLLMBase
from speech_llm.batches import SPEEDS, channel_statistics, make_batch, planned_lengths, shuffle_audio
from speech_llm.decoding import CHARACTER_BONUS, DECODERS, DECODING_FLAGS, check_decoding
from speech_llm.feature_sources import choose_evenly, index_files, load_items, model_config, open_source
from speech_llm.length_buckets import bucket_steps
from speech_llm.predictions import write_predictions
from speech_llm.saved_model import DTYPES, build_speech_llm, read_saved, read_weights, save_pretrained
from speech_llm.validation import evaluate_listening, warn_of_deafness
from training.checkpoints import load_checkpoint, random_state, restore_random_state, save_checkpoint
from training.experiment import cut_metrics, is_finished, mark_finished, open_experiment
from training.processes import any_process, broadcast, start_accelerator
from training.progress import Progress, finite_means
from training.resuming import (
    catch_stop_signals,
    exit_on_stop_signals,
    find_checkpoint,
    log_row,
    note_changes,
)
from training.schedule import calibrate, learning_rate

log = logging.getLogger("oral_units")

CALIBRATION_STEPS = range(3, 13)  # of the LLM's phase, timed to turn --max_minutes into steps
DEFAULT_STEPS = 3000
ENDLESS = 10**9  # batches, while the number of steps is not known

# %% [markdown]
# ## Arguments
#
# - **Teach the connector to listen before the LLM reads it** (`--ctc_warmup_steps`): with minutes of speech a connector
#   and LoRA trained directly on transcripts learn the transcripts by heart and ignore the audio. Characters by CTC
#   cannot be learnt by heart that way, since they are read off the frames.
# - **CTC compression, spelling, draft**: the LLM then gets one position a character (`--ctc_compress`), with the
#   LLM's own embeddings of the characters weighted by their posteriors (`--ctc_embedding`), and what the head read as
#   plain text (`--ctc_draft`), noisy in training (`--draft_noise`), so that the LLM learns to doubt it.
# - **Factor 6**: 8 positions a second, near the rate of an LLM's tokens. CTC needs more than a position a character:
#   `--factor 2` with it.
# - **Weights of the trained parts stay float32**: AdamW's steps of 1e-4 vanish beside a norm's scale of 1 in bf16.


# %%
def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a speech LLM.", formatter_class=HELP_FORMATTER)
    run = parser.add_argument_group("run")
    run.add_argument("--out_dir", "--exp", type=Path, required=True, help="experiment folder, as in exp/english_llm")
    run.add_argument("--do_train", action="store_true", help="train, or go on training")
    run.add_argument("--do_generate", action="store_true", help="transcribe the test splits with the best weights")
    run.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        default=None,
        metavar="PATH",
        help="continue an unfinished run from its latest state, or from the checkpoint PATH; 'auto' continues where "
        "there is something to continue and starts anew otherwise",
    )
    run.add_argument("--overwrite", action="store_true", help="delete what an earlier run of this name left")
    run.add_argument("--from_pretrained", default=None, help="start from the trained weights of this experiment")

    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", type=Path, default=None, help="data/<language>, a datasets.save_to_disk folder, or transcripts.tsv's"
    )
    data.add_argument("--text_field", default="text", help="column of the transcripts")
    data.add_argument("--audio_field", default="audio", help="column of the audio")
    data.add_argument("--train_split", default="train", help="split to train on")
    data.add_argument("--validation_split", default="val", help="split that chooses the best weights")
    data.add_argument("--test_splits", nargs="+", default=["test"], help="splits to transcribe")
    data.add_argument("--max_validation", type=int, default=200, help="utterances of the validation split to judge on")
    data.add_argument("--max_train", type=int, default=None, help="utterances to train on (default: all)")

    front = parser.add_argument_group("front end")
    front.add_argument("--front_end", choices=("features", "units", "bpe"), default="features", help="what is read")
    front.add_argument("--speech_enc_id", default="openai/whisper-small", help="speech encoder, hub id or folder")
    front.add_argument("--speech_enc_layer", type=int, default=None, help="its layer (default: the last)")
    front.add_argument(
        "--padding", choices=("full", "short"), default="full", help="Whisper's window: 30 s, or as long"
    )
    front.add_argument("--units_exp", type=Path, default=None, help="finished phase 1, for units and bpe")
    front.add_argument("--bpe_exp", type=Path, default=None, help="finished phase 2, for bpe")
    front.add_argument("--feature_cache", type=Path, default=None, help="folder of features (default: <data>/cache)")
    front.add_argument("--no_feature_cache", action="store_true", help="encode anew at every step")

    llm = parser.add_argument_group("LLM")
    llm.add_argument("--llm_id", default="allenai/OLMo-2-0425-1B-Instruct", help="causal LM, hub id or folder")
    llm.add_argument("--llm_revision", default=None, help="its revision on the hub")
    llm.add_argument("--prompt", default="Transcribe the speech.", help="instruction, after the audio")
    llm.add_argument("--lora_r", type=int, default=0, help="rank of the low-rank adaptation; 0: the LLM stays frozen")
    llm.add_argument("--lora_alpha", type=float, default=None, help="its scale (default: twice the rank)")
    llm.add_argument("--lora_dropout", type=float, default=0.05, help="its dropout")
    llm.add_argument(
        "--lora_targets", nargs="+", default=["all-linear"], help="adapted projections, as in q_proj v_proj"
    )

    connector = parser.add_argument_group("connector")
    connector.add_argument("--connector", choices=KINDS, default="transformer", help="kind")
    connector.add_argument("--factor", type=int, default=6, help="frames (20 ms) a position")
    connector.add_argument("--width", type=int, default=512, help="channels inside")
    connector.add_argument("--n_layers", type=int, default=2, help="layers")
    connector.add_argument("--norm", choices=("pre", "post"), default="pre", help="norm of the transformer's layers")
    connector.add_argument("--no_final_norm", action="store_true", help="no norm behind the last layer")
    connector.add_argument("--no_positions", action="store_true", help="no sinusoidal positions")
    connector.add_argument("--dropout", type=float, default=0.1, help="dropout of connector and CTC head")

    ctc = parser.add_argument_group("listening by CTC")
    ctc.add_argument("--ctc_warmup_steps", type=int, default=0, help="steps, of --steps, of character CTC alone")
    ctc.add_argument("--ctc_lr", type=float, default=1e-3, help="peak learning rate of these steps")
    ctc.add_argument("--ctc_loss_weight", type=float, default=None, help="of CTC after them (default: .3 with warm-up)")
    ctc.add_argument("--ctc_compress", action="store_true", help="one LLM position a character: no blanks, no repeats")
    ctc.add_argument("--ctc_embedding", action="store_true", help="add the posterior-weighted embedded characters")
    ctc.add_argument("--ctc_draft", action="store_true", help="give the LLM the CTC head's reading as text")
    ctc.add_argument("--draft_noise", type=float, default=0.0, help="strongest Gumbel noise on it in training (nats)")

    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=int, default=None, help=f"updates in all (default: {DEFAULT_STEPS})")
    training.add_argument("--max_minutes", type=float, default=None, help="wall time; becomes a number of steps")
    training.add_argument("--lr", type=float, default=2e-4, help="peak learning rate of AdamW")
    training.add_argument("--lora_lr", type=float, default=None, help="of LoRA (default: --lr)")
    training.add_argument("--wdecay", type=float, default=0.01, help="decoupled weight decay of matrices")
    training.add_argument("--warmup", type=int, default=50, help="steps of linear warm-up, in each phase")
    training.add_argument("--bsize", type=int, default=16, help="utterances a batch (at most)")
    training.add_argument("--max_positions", type=int, default=None, help="LLM positions a batch, padding included")
    training.add_argument("--ctc_bsize", type=int, default=None, help="utterances a batch of CTC (default: --bsize)")
    training.add_argument("--gradient_accumulation_steps", type=int, default=1, help="batches a process and step")
    training.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    training.add_argument("--label_smoothing", type=float, default=0.0, help="of the answer tokens")
    training.add_argument("--frame_dropout", type=float, default=0.0, help="share of frames set to zero, in spans")
    training.add_argument("--speed_perturb", action="store_true", help="speeds .9, 1 and 1.1, each cached once")
    training.add_argument("--early_stopping", type=int, default=0, help="evaluations without gain; 0: never")
    training.add_argument("--shuffle_audio", action="store_true", help="the control: texts with others' audio")
    training.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation")

    watching = parser.add_argument_group("watching")
    watching.add_argument("--logging_steps", type=int, default=10, help="steps between rows of metrics.jsonl")
    watching.add_argument("--eval_steps", type=int, default=100, help="steps between evaluations")
    watching.add_argument("--save_steps", type=int, default=100, help="steps between writings of latest.pt")

    generation = parser.add_argument_group("generation")
    generation.add_argument(
        "--decoder", choices=DECODERS, default=None, help="default: joint with a CTC head, else llm"
    )
    generation.add_argument("--num_beams", type=int, default=1, help="1: greedy")
    generation.add_argument("--n_best", type=int, default=1, help="hypotheses kept an utterance")
    generation.add_argument("--ctc_weight", type=float, default=0.5, help="of the CTC head's nats in joint decoding")
    generation.add_argument(
        "--character_bonus", type=float, default=CHARACTER_BONUS, help="nats a character in joint decoding"
    )
    generation.add_argument("--length_penalty", type=float, default=0.0, help="exponent of the length in beam search")
    generation.add_argument("--generate_bsize", type=int, default=8, help="utterances a batch")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--mixed_precision", choices=("auto", "no", "bf16"), default="auto", help="of frozen models")
    machine.add_argument("--nj", type=int, default=2, help="reading threads and processes")
    machine.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    args = parse_flags(parser, argv)
    check_args(args)
    return args


def check_args(args: argparse.Namespace) -> None:
    """Fill in what follows from other flags; refuse what cannot be obeyed."""
    if not (args.do_train or args.do_generate):
        raise UserError("nothing to do: give --do_train, --do_generate or both")
    if args.data is None:
        raise UserError("--data: expected a folder of transcribed speech, found none given")
    if args.steps is not None and args.max_minutes is not None:
        raise UserError("--steps and --max_minutes exclude each other; give one")
    if args.steps is None and args.max_minutes is None:
        args.steps = DEFAULT_STEPS
    listening = args.ctc_warmup_steps > 0 or bool(args.ctc_loss_weight)
    if not listening and (args.ctc_compress or args.ctc_embedding or args.ctc_draft):
        raise UserError("--ctc_compress, --ctc_embedding and --ctc_draft need a CTC head: give --ctc_warmup_steps")
    if args.draft_noise and not args.ctc_draft:
        raise UserError("--draft_noise needs --ctc_draft")
    if args.ctc_loss_weight is None:
        args.ctc_loss_weight = 0.3 if listening else 0.0
    if args.decoder is None:
        args.decoder = "joint" if listening else "llm"
    if args.front_end != "features" and args.units_exp is None:
        raise UserError(f"--front_end {args.front_end} needs --units_exp, the folder of a finished phase 1")
    if (args.front_end == "bpe") != (args.bpe_exp is not None):
        raise UserError("--front_end bpe and --bpe_exp, the folder of a finished phase 2, belong together")
    if args.front_end != "features" and args.speed_perturb:
        raise UserError(f"--speed_perturb changes audio; --front_end {args.front_end} reads units")
    require_positive(args, "steps", "max_minutes", "factor", "width", "n_layers", "bsize", "max_positions", "ctc_bsize")
    require_positive(args, "gradient_accumulation_steps", "logging_steps", "eval_steps", "save_steps", "num_beams")
    require_positive(args, "n_best", "generate_bsize", "max_validation", "max_train")


# %% [markdown]
# ## Data, optimiser, batches


# %%
def build_optimizer(model: SpeechLLMBase, args: argparse.Namespace) -> torch.optim.AdamW:
    """Groups with their own peak: connector and LoRA, matrices with weight decay and vectors without."""
    groups: dict[tuple, list] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            assert value.dtype == torch.float32, f"{name}: trained weights stay float32"
            groups.setdefault(("lora_" in name, value.dim() > 1), []).append(value)
    return torch.optim.AdamW(
        [
            {"params": values, "weight_decay": args.wdecay if matrix else 0.0, "lora": lora}
            for (lora, matrix), values in groups.items()
        ],
        lr=args.lr,
        betas=(0.9, 0.98),
    )


def set_learning_rates(
    optimizer: torch.optim.Optimizer, args: argparse.Namespace, step: int, total: int | None
) -> None:
    """A function of the step and the plan: each phase warms up and comes down by itself."""
    if step < args.ctc_warmup_steps:
        local, length, peaks = step, args.ctc_warmup_steps, (args.ctc_lr, 0.0)
    else:
        local = step - args.ctc_warmup_steps
        length = total - args.ctc_warmup_steps if total else None
        peaks = (args.lr, args.lr if args.lora_lr is None else args.lora_lr)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(local, length, peaks[bool(group["lora"])], args.warmup)


def step_batches(
    args: argparse.Namespace,
    model: SpeechLLMBase,
    source: dict,
    items: list[dict],
    accelerator: Accelerator,
    *,
    first: int,
    ctc_only: bool,
) -> Iterator[list[dict]]:
    """From step ``first`` of a phase on: this process's batches of each step, ``gradient_accumulation_steps`` many."""
    lengths = planned_lengths(model, source, items, ctc_only=ctc_only)
    n_batches, n_items = args.gradient_accumulation_steps, (args.ctc_bsize or args.bsize) if ctc_only else args.bsize
    budget = max(lengths) * n_items if ctc_only or args.max_positions is None else args.max_positions
    chosen = bucket_steps(
        lengths,
        max_positions=budget,
        max_items=n_items,
        seed=args.seed,
        first=first * n_batches,
        last=ENDLESS,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    speeds = SPEEDS if args.speed_perturb else (1.0,)
    for number, indices in enumerate(chosen, first * n_batches):
        if number % n_batches == 0:
            batches = []
        batches.append(
            make_batch(
                model,
                source,
                [items[index] for index in indices],
                key=(args.seed, int(ctc_only), number, accelerator.process_index),
                frame_dropout=args.frame_dropout,
                speeds=speeds,
                smoothing=args.label_smoothing,
            )
        )
        if len(batches) == n_batches:
            yield batches


def count_targets(accelerator: Accelerator, batches: list[dict]) -> tuple[float, float]:
    """Answer tokens and characters of a step over all processes: every one of them weighs the same."""
    counts = torch.tensor(
        [[sum(map(len, batch[name])) for name in ("answers", "labels")] for batch in batches], dtype=torch.float64
    ).sum(0)
    if accelerator.num_processes > 1:
        counts = accelerator.reduce(counts.float().to(accelerator.device), "sum").cpu()
    tokens, characters = counts.tolist()
    return max(1.0, tokens), max(1.0, characters)


def training_losses(
    accelerator: Accelerator, model: torch.nn.Module, batches: list[dict], *, ctc_only: bool, ctc_weight: float
) -> dict[str, torch.Tensor]:
    """Backward through a step's batches; returns the means over all processes: loss_nat, token_accuracy, ctc_nat."""
    n_tokens, n_characters = count_targets(accelerator, batches)
    sums: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            found = model(batch, ctc_only=ctc_only)
            loss = found["ce_sum"] / n_tokens if "ce_sum" in found else 0.0
            if "ctc_sum" in found:
                loss = loss + (1.0 if ctc_only else ctc_weight) * found["ctc_sum"] / n_characters
            # Processes average their gradients; what is wanted is the sum.
            accelerator.backward(loss * accelerator.num_processes)
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value.detach().float()
    scales = {"ce_sum": ("loss_nat", n_tokens), "n_correct": ("token_accuracy", n_tokens)}
    scales |= {"ctc_sum": ("ctc_nat", n_characters)}
    means = {f"train_{name}": sums[key] / count for key, (name, count) in scales.items() if key in sums}
    if accelerator.num_processes > 1:
        means = {name: accelerator.reduce(value, "sum") for name, value in means.items()}
    return means


# %% [markdown]
# ## The loop
#
# Every step: evaluate → save → (stop) → update. A checkpoint holds everything that the next step depends on.


# %%
def main() -> int:
    args = parse_args()
    exit_on_stop_signals()
    exp, precision = args.out_dir, choose_precision(args.mixed_precision, cpu=args.cpu)
    accelerator = start_accelerator(
        precision, cpu=args.cpu, handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )
    rank0 = accelerator.is_main_process
    if rank0:
        enter_experiment(args, exp)
    accelerator.wait_for_everyone()
    code = train(args, accelerator, precision) if args.do_train else 0
    if code == 0 and args.do_generate and rank0:
        write_predictions(exp, args, accelerator, "bf16" if precision == "bf16" else "fp32")
    accelerator.wait_for_everyone()
    return code


def train(args: argparse.Namespace, accelerator: Accelerator, precision: str) -> int:
    exp, rank0 = args.out_dir, accelerator.is_main_process
    resume_from = find_checkpoint(args.resume, exp)
    state = load_checkpoint(resume_from, command="python src/trainer_base.py --do_train") if resume_from else None
    if is_finished(exp) and (args.steps is None or state is None or state["step"] >= args.steps):
        log.info("%s: training has finished already with this configuration", exp)
        return 0

    set_seed(args.seed)
    items = load_items(args, [args.train_split, args.validation_split])
    training = choose_evenly(items[args.train_split], args.max_train)
    validation = choose_evenly(items[args.validation_split], args.max_validation)
    speeds = SPEEDS if args.speed_perturb else (1.0,)
    source = open_source(args, [(training, speeds), (validation, (1.0,))], accelerator)
    training, validation = source["known"](training), source["known"](validation)
    if args.shuffle_audio:
        training = shuffle_audio(training, args.seed)
    pretrained = read_saved(Path(args.from_pretrained))["model"] if args.from_pretrained else {}
    config = model_config(args, training, source, pretrained)
    model = build_speech_llm(config, DTYPES["bf16" if precision == "bf16" else "fp32"], accelerator.device)
    if model.units is None and not state:
        model.connector.standardize(*channel_statistics(source, training))
    if args.from_pretrained:
        left_out = model.load_trained(read_weights(Path(args.from_pretrained)), strict=False)
        log.info("%s: taken over, but for %d weights %s", args.from_pretrained, len(left_out), left_out[:4])
    decoding = {name: getattr(args, name) for name in DECODING_FLAGS}
    check_decoding(model, **{key: decoding[key] for key in ("decoder", "num_beams", "ctc_weight")}, n_best=args.n_best)

    model.train()
    optimizer = build_optimizer(model, args)
    step, total_steps, best, stale, spent = 0, args.steps, (math.inf, math.inf), 0, 0.0
    evaluated, since_log = 0, []
    if state:
        model.load_trained(state["model"])
        step, spent = state["step"], state["seconds"]
        if resume_from.resolve().is_relative_to(exp.resolve()):
            best, stale = tuple(state["best"]), state["stale"]
        total_steps = state["total_steps"] if args.max_minutes else args.steps
        evaluated, since_log = state["evaluated"], state["since_log"]
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    if state:
        optimizer.load_state_dict(state["optimizer"])
        restore_random_state(state["random_state"])
        note_changes(
            state,
            {"threads": torch.get_num_threads(), "precision": precision, "processes": accelerator.num_processes},
        )
    if rank0:
        cut_metrics(exp, step)

    def checkpoint() -> dict:
        return {
            "step": step,
            "total_steps": total_steps,
            "best": list(best),
            "stale": stale,
            "evaluated": evaluated,
            "since_log": since_log,
            "seconds": spent + time.monotonic() - started,
            "threads": torch.get_num_threads(),
            "processes": accelerator.num_processes,
            "precision": precision,
            "model": model.trained_state(),
            "optimizer": optimizer.state_dict(),
            "random_state": random_state(),
        }

    stop_signal = catch_stop_signals()
    writer = SummaryWriter(exp / "tensorboard", purge_step=step) if rank0 else None
    hours = sum(item["duration"] for item in training) / 3600
    n_trained = sum(value.numel() for value in model.trained_state().values())
    log.info("%s: %.2f h to train on, %.2f M weights to train", exp, hours, n_trained / 1e6)
    started, step_seconds, first_step = time.monotonic(), [], step
    progress = tqdm(total=total_steps, initial=step, unit="step", desc=exp.name, disable=None if rank0 else True)
    batches, evaluation_seconds = None, 0.0

    while True:
        last = total_steps is not None and step >= total_steps
        switching = step == args.ctc_warmup_steps > 0 and not last
        stopping = bool(stop_signal)

        # A stopped run is not kept waiting: it evaluates when it is resumed.
        due = last or switching or step % args.eval_steps == 0
        if rank0 and due and not (stopping and not last) and step > evaluated:
            clock = time.monotonic()
            scores = evaluate_listening(
                model,
                source,
                validation,
                ctc_only=step <= args.ctc_warmup_steps,
                batch_size=args.generate_bsize,
                autocast=accelerator.autocast,
                decoding=decoding,
            )
            evaluation_seconds, evaluated = time.monotonic() - clock, step
            log_row(exp, writer, step, spent + time.monotonic() - started, scores)
            warn_of_deafness(step, scores)
            reached = (scores["validation_wer"], scores.get("validation_loss_nat", scores.get("validation_ctc_nat")))
            stale = 0 if reached < best else stale + 1
            if reached < best:
                best = reached
                save_pretrained(exp / "best", model, {"step": step, "decoding": decoding, "scores": scores})
        if switching and evaluated == step:
            # The LLM's readings begin worse than the head's alone: the best is one of theirs.
            best, stale = (math.inf, math.inf), 0
        gives_up = bool(args.early_stopping) and any_process(accelerator, stale >= args.early_stopping)
        stopping = any_process(accelerator, stopping)
        if rank0 and step > first_step and (last or stopping or gives_up or step % args.save_steps == 0):
            finite_means(exp, Progress(step=step, since_log=since_log))
            save_checkpoint(exp / "checkpoints" / "latest.pt", checkpoint())
        if last or gives_up or stopping:
            break

        clock = time.monotonic()
        ctc_only = step < args.ctc_warmup_steps
        if batches is None or step == args.ctc_warmup_steps:
            local = step if ctc_only else step - args.ctc_warmup_steps
            batches = step_batches(args, model, source, training, accelerator, first=local, ctc_only=ctc_only)
        set_learning_rates(optimizer, args, step, total_steps)
        losses = training_losses(
            accelerator, wrapped, next(batches), ctc_only=ctc_only, ctc_weight=args.ctc_loss_weight
        )
        gradient_norm = accelerator.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], args.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        step += 1
        since_log.append({name: value.cpu() for name, value in losses.items()})
        since_log[-1]["gradient_norm"] = torch.as_tensor(gradient_norm).detach().cpu()
        if not ctc_only:
            step_seconds.append(time.monotonic() - clock)
        progress.update()
        if step % args.logging_steps == 0 or step in (total_steps, args.ctc_warmup_steps):
            means = finite_means(exp, Progress(step=step, since_log=since_log))
            if rank0:
                extra = {"learning_rate": optimizer.param_groups[0]["lr"], "step_seconds": time.monotonic() - clock}
                log_row(exp, writer, step, spent + time.monotonic() - started, means | extra)
                progress.set_postfix({name.removeprefix("train_"): f"{value:.3f}" for name, value in means.items()})
            since_log = []
        if total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            left = 60 * args.max_minutes - spent - (time.monotonic() - started)
            timed = step_seconds[CALIBRATION_STEPS.start :]
            more = calibrate(left, timed, evaluation_seconds, args.eval_steps)
            total_steps = broadcast(accelerator, step + more)
            log.info("%.1f minutes stand for %d steps", args.max_minutes, total_steps)
            progress.total = total_steps

    progress.close()
    if rank0:
        writer.close()
    if stopping and not last:
        log.info("%s: stopped by signal %s at step %d, saved; --resume continues", exp, stop_signal, step)
        return EXIT_STOPPED
    if rank0:
        seconds = spent + time.monotonic() - started
        mark_finished(exp, {"step": step, "best_validation_wer": best[0], "seconds": round(seconds, 1)})
        log.info("wrote %s: %d steps in %.1f minutes, best validation WER %.3f", exp, step, seconds / 60, best[0])
    return 0


# %% [markdown]
# ## The experiment folder


# %%
def enter_experiment(args: argparse.Namespace, exp: Path) -> None:
    """Make or re-enter the folder. Generation may be asked for again, otherwise; training may be lengthened."""
    changeable = ("steps", "do_train", "do_generate", "out_dir", "cpu", "nj", "logging_steps", "early_stopping")
    generation = ("test_splits", *DECODING_FLAGS, "n_best", "generate_bsize")
    if not args.do_train and args.resume is None:
        args.resume = "latest"
    open_experiment(exp, vars(args), inputs=index_files(args.data), ignore=(*changeable, *generation))
    configure_log(exp / "train.log")


# %%
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --bsize 4")
