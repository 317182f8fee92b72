# %% [markdown]
# # Speech LLM: a frozen speech encoder, a trained connector, an instruction-following LLM
#
# Reads transcribed speech, trains what stands between a frozen encoder and an LLM (and, if asked for, a low-rank
# adaptation of the LLM), and leaves `best/` (what was trained), `checkpoints/latest.pt`, metrics and, with
# `--do_generate`, `<split>_predictions.json` in the experiment folder.
#
# ```
# python src/trainer_base.py --data data/english --exp exp/english_llm --speech_enc_id openai/whisper-base \
#     --llm_id HuggingFaceTB/SmolLM2-135M-Instruct --do_train --do_generate --ctc_warmup_steps 600 --lora_r 8
# torchrun --standalone --nproc-per-node=2 src/trainer_base.py …
# ```

# %%
import core.quiet_start

import argparse
import functools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed

from core.cli import (
    HELP_FORMATTER,
    configure_log,
    given_flags,
    parse_flags,
    run_main,
)
from core.device import choose_precision, compute_deterministically
from core.exit_codes import EXIT_STOPPED
from core.locks import only_run
from core.records import SpeechLLMConfig, TranscribedItem
from encoders.top_layers import read_top_layers
from models.speech_llm_model import SpeechBatch, SpeechLLMBase
from speech_llm.batches import PERTURBED_SPEEDS, channel_statistics, planned_lengths, shuffle_audio, stream_steps
from speech_llm.characters import choose_apostrophe, choose_characters, choose_text_form
from speech_llm.ctc_room import LARGEST_FACTOR, settle_factor
from speech_llm.data_flags import add_data_flags
from speech_llm.decoding import (
    DECODING_FLAGS,
    check_decoding,
    token_rate,
)
from speech_llm.feature_sources import FeatureSource, open_cached_source, open_encoder_source, open_unit_source
from speech_llm.folds import HELD_OUT, parse_fold, part_fold
from speech_llm.many_datasets import add_datasets
from speech_llm.memory_budget import positions_that_fit
from speech_llm.model_flags import (
    add_connector_flags,
    add_ctc_flags,
    add_front_end_flags,
    add_llm_flags,
    add_memory_flags,
)
from speech_llm.noisy_copies import all_noisy, keep_known_copies, with_noisy_copies
from speech_llm.predictions import copy_single_split, write_predictions
from speech_llm.recalled_flags import recall_flags, recall_model
from speech_llm.saved_model import (
    DTYPES,
    add_heads,
    build_speech_llm,
    find_saved,
    from_pretrained,
    load_tokenizer,
    read_saved,
    refuse_no_llm,
    save_pretrained,
)
from speech_llm.starting_weights import take_over
from speech_llm.text_sizes import TextSizes, measure_texts
from speech_llm.train_step import Learner, build_optimizer, update_weights
from speech_llm.training_flags import (
    DEFAULT_STEPS,
    add_generation_flags,
    add_machine_flags,
    add_training_flags,
    check_args,
    trains_ctc,
)
from speech_llm.transcribed_items import choose_evenly, index_files, load_transcribed
from speech_llm.unit_inputs import hash_ids
from speech_llm.validation import validate, warn_if_audio_unused
from training.checkpoints import load_checkpoint, restore_random_state, seed_step
from training.experiment import is_input, noting_failed_start, open_experiment, read_arguments
from training.flags import add_watching_flags
from training.processes import any_process, broadcast, least, open_team, start_accelerator
from training.resuming import (
    Run,
    end_run,
    exit_on_stop_signals,
    find_checkpoint,
    finish_run,
    has_finished,
    is_own,
    note_changes,
    note_plan,
    note_step,
    save_progress,
    start_run,
    training_seconds,
    write_losses,
    write_row,
)
from training.schedule import calibrate, learning_rate
from training.training_state import Progress, has_stalled, is_due, is_last, note_validation, restore_progress

log = logging.getLogger("oral_units")

CALIBRATION_STEPS = range(3, 13)  # of the LLM's phase, timed to turn --max_minutes into steps
NO_BEST = (math.inf, math.inf)  # validation WER and nats, before any validation
SHOWN_LOSSES = ("train_loss_nat", "train_token_accuracy", "train_ctc_nat")

DATA_FLAGS = (
    *("data", "language", "text_field", "audio_field", "id_field", "test_splits", "units_exp", "bpe_exp"),
    *("feature_cache", "no_feature_cache"),
)
LENGTH_FLAGS = ("steps", "patience")  # of a training, which may be lengthened
GENERATION_FLAGS = ("n_best", "generate_batch_size", "ensemble")
MACHINE_FLAGS = ("cpu", "deterministic", "mixed_precision", "attention", "num_workers", "log_every", "save_every")
EVERYDAY_FLAGS = (
    *("data", "language", "do_train", "do_generate", "resume", "overwrite"),
    *("speech_enc_id", "llm_id", "lora_r", "factor"),
    *("ctc_warmup_steps", "ctc_compress", "ctc_embedding", "steps", "max_minutes", "lr", "batch_size", "patience"),
    *("num_beams", "seed", "cpu"),
)

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
# - **The encoder's own top layers as the connector** (`--connector encoder`): they know how to hear already. What
#   enters them is cached, and they are trained on with the rest, at `--top_lr_share` of its rate.
# - **Weights of the trained parts stay float32**: AdamW's steps of 1e-4 are lost next to a norm's scale of 1 in bf16.
# - Flags have the names they have in the other trainers; the second name of some (`--bsize`, `--out_dir`, …) means the
#   same.


# %%
DESCRIPTION = """Train speech to text: a frozen speech encoder, a trained connector, a language model.

Reads transcribed speech (--data). Writes the folder --exp with the model (best/) and, with --do_generate, what it reads
in the test split (test_predictions.json).

    python src/trainer_base.py --data data/english --exp exp/english_llm --speech_enc_id openai/whisper-base \\
        --llm_id HuggingFaceTB/SmolLM2-135M-Instruct --do_train --do_generate

More: docs/speech_llm.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=HELP_FORMATTER)
    add_run_flags(parser.add_argument_group("run"))
    add_data_flags(parser.add_argument_group("data"))
    add_front_end_flags(parser.add_argument_group("front end"))
    add_llm_flags(parser.add_argument_group("LLM"))
    add_memory_flags(parser.add_argument_group("memory of the LLM"))
    add_connector_flags(parser.add_argument_group("connector"))
    add_ctc_flags(parser.add_argument_group("listening by CTC"))
    add_training_flags(parser.add_argument_group("training"))
    add_watching_flags(parser.add_argument_group("watching"), log_every=10, eval_every=100, save_every=100)
    add_generation_flags(parser.add_argument_group("generation"))
    add_machine_flags(parser.add_argument_group("machine"))
    args = recall_training(parse_flags(parser, argv, everyday=EVERYDAY_FLAGS), given_flags(parser, argv))
    check_args(args)
    return args


def recall_training(args: argparse.Namespace, given: set[str]) -> argparse.Namespace:
    """A model that only writes needs none of the flags it was trained with; a run that goes on keeps its --factor.

    One that starts from another model is made as that one is, but for the flags that are given.
    """
    if args.do_generate and not args.do_train:
        changeable = {*DATA_FLAGS, *GENERATION_FLAGS, *DECODING_FLAGS, *MACHINE_FLAGS, *LENGTH_FLAGS}
        return argparse.Namespace(**recall_flags(args.exp, vars(args), given, changeable=changeable))
    if args.from_pretrained and args.do_train:
        args.steps = DEFAULT_STEPS if args.steps is None and args.max_minutes is None else args.steps
        args = argparse.Namespace(**recall_model(Path(args.from_pretrained), vars(args), given))
    if args.factor is None and args.resume is not None and not args.overwrite:
        args.factor = read_arguments(args.exp).get("factor")
    return args


def add_run_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--exp", "--out_dir", type=Path, required=True, help="experiment folder, as in exp/english_llm")
    group.add_argument("--do_train", action="store_true", help="train, or continue training")
    group.add_argument("--do_generate", action="store_true", help="transcribe the test splits with the best weights")
    group.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        default=None,
        metavar="PATH",
        help="continue an unfinished run from its latest state, or from the checkpoint PATH; 'auto' continues where "
        "there is something to continue, and starts from the beginning if there is nothing",
    )
    group.add_argument("--overwrite", action="store_true", help="delete what an earlier run of this name left")
    group.add_argument("--from_pretrained", default=None, help="start from the trained weights of this experiment")


# %% [markdown]
# ## Data: texts, and the features of their audio


# %%
class Data(NamedTuple):
    source: FeatureSource
    training: list[TranscribedItem]
    validation: list[TranscribedItem]
    sizes: TextSizes  # of the training texts


def cache_folder(args: argparse.Namespace, data: Path | None = None) -> Path:
    """Where the features of a data set (None: --data) are kept, and the hashes of audio that they are found by."""
    return args.feature_cache or (data or args.data) / "cache" / "speech_features"


def input_files(args: argparse.Namespace) -> list[Path]:
    return [path for data in (args.data, *args.more_data) for path in index_files(data)]


def known_hashes(args: argparse.Namespace, data: Path) -> Path:
    """The table of the hashes of a data set's audio."""
    shared = args.feature_cache is not None and data != args.data
    name = f"audio_hashes_{data.resolve().name}.tsv" if shared else "audio_hashes.tsv"
    return cache_folder(args, data) / name


def named_fields(args: argparse.Namespace) -> dict[str, str | None]:
    return {"text_field": args.text_field, "audio_field": args.audio_field, "id_field": args.id_field}


def load_splits(args: argparse.Namespace, splits: Sequence[str]) -> dict[str, list[TranscribedItem]]:
    """The splits of --data, or a fold of them."""
    names = [args.train_split if args.fold and split == HELD_OUT else split for split in splits]
    found = load_transcribed(args.data, names, known_hashes=known_hashes(args, args.data), **named_fields(args))
    if args.fold is None:
        return found
    kept, held_out = part_fold(found[args.train_split], parse_fold(args.fold))
    parts = found | {args.train_split: kept, HELD_OUT: held_out}
    return {split: parts[split] for split in splits}


def training_speeds(args: argparse.Namespace) -> tuple[float, ...]:
    return PERTURBED_SPEEDS if args.speed_perturb else (1.0,)


def frozen_precision(accelerator: Accelerator) -> str:
    """What the frozen models compute in."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def open_features(
    args: argparse.Namespace,
    accelerator: Accelerator,
    wanted: Sequence[tuple[list[TranscribedItem], Sequence[float]]],
) -> FeatureSource:
    """Where the features of (items, speeds) come from."""
    if args.front_end != "features":
        everything = [item for items, _ in wanted for item in items]
        return open_unit_source(args.units_exp, args.bpe_exp, everything, embedding_dim=args.width)
    precision, device = frozen_precision(accelerator), str(accelerator.device)
    if args.no_feature_cache:
        return open_encoder_source(
            args.speech_enc_id, args.speech_enc_layer, padding=args.padding, precision=precision, device=device
        )
    return open_cached_source(
        [cache_folder(args, data) for data in (args.data, *args.more_data)],
        wanted,
        encoder_id=args.speech_enc_id,
        layer=args.speech_enc_layer,
        padding=args.padding,
        precision=precision,
        device=device,
        num_workers=args.num_workers,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def load_data(args: argparse.Namespace, accelerator: Accelerator) -> Data:
    """The items to train and to validate on, less those without features; the test splits must be there too."""
    items = load_splits(
        args, [args.train_split, args.validation_split, *(args.test_splits if args.do_generate else ())]
    )
    hashes = functools.partial(known_hashes, args)
    training = add_datasets(items[args.train_split], args.more_data, args.train_split, hashes, **named_fields(args))
    training = with_noisy_copies(choose_evenly(training, args.max_train), args.noise_perturb)
    validation = choose_evenly(items[args.validation_split], args.max_validation)
    heard = [*training, *all_noisy(training)]
    source = open_features(args, accelerator, [(heard, training_speeds(args)), (validation, (1.0,))])
    training, validation = source.keep_known(training), source.keep_known(validation)
    training = keep_known_copies(training, source.keep_known)
    if args.shuffle_audio:
        training = shuffle_audio(training, args.seed)
    tokenizer = load_tokenizer(args.llm_id, args.llm_revision)
    with accelerator.main_process_first():
        sizes = measure_texts(tokenizer, [item["text"] for item in training], cache_folder(args))
    return Data(source, training, validation, sizes)


# %% [markdown]
# ## Model and optimizer


# %%
def settle_positions(args: argparse.Namespace, data: Data, pretrained: SpeechLLMConfig | None) -> int:
    """Frames a position: --factor, else that of the weights to start from, else what suits the texts."""
    given = args.factor or (pretrained["connector"]["factor"] if pretrained else None)
    if not trains_ctc(args):
        return given or LARGEST_FACTOR
    read, count_frames = data.source.read, data.source.count_frames
    # Units stand for runs of frames: there are fewer of them.
    count = (lambda item: len(read([item], [1.0])[0])) if data.source.n_units else count_frames
    fastest, needed = max(training_speeds(args)), data.sizes.n_path
    return settle_factor(given, data.training, count, fastest=fastest, needed=needed)


def describe_model(args: argparse.Namespace, data: Data, pieces: list[list[int]] | None) -> SpeechLLMConfig:
    """The plain values that the model is built and saved with; ``pieces``: of the prompt, where they are known."""
    pretrained = read_saved(Path(args.from_pretrained))["model"] if args.from_pretrained else {}
    texts, known = [item["text"] for item in data.training], pretrained.get("characters", "")
    tokenizer = load_tokenizer(args.llm_id, args.llm_revision)
    alpha = 2 * args.lora_r if args.lora_alpha is None else args.lora_alpha
    lora = {"r": args.lora_r, "alpha": alpha, "dropout": args.lora_dropout, "targets": list(args.lora_targets)}
    return {
        "front_end": args.front_end,
        "speech_enc_id": args.speech_enc_id,
        "speech_enc_layer": args.speech_enc_layer,
        "padding": args.padding,
        "llm_id": args.llm_id,
        "llm_revision": args.llm_revision,
        "llm_bits": args.llm_bits,
        "prompt": args.prompt,
        "pieces": pieces,
        "in_dim": data.source.in_dim,
        "n_units": data.source.n_units,
        **({"units_hash": hash_ids(args.units_exp, args.bpe_exp)} if data.source.n_units else {}),
        "connector": {
            "kind": args.connector,
            "factor": settle_positions(args, data, pretrained),
            "width": args.width,
            "n_layers": args.n_layers,
            "n_heads": args.n_heads,
            "feedforward": args.feedforward,
            "norm": args.norm,
            "final_norm": not args.no_final_norm,
            "positions": not args.no_positions,
            "dropout": args.dropout,
            **({"merge": args.merge_frames} if args.merge_frames else {}),
        },
        "characters": choose_characters(texts, known, data.sizes.characters) if trains_ctc(args) else "",
        "text_form": choose_text_form(texts),
        "apostrophe": choose_apostrophe(texts),
        "ctc_compress": args.ctc_compress,
        "ctc_embedding": args.ctc_embedding,
        "ctc_draft": args.ctc_draft,
        "ctc_tokens": args.ctc_tokens,
        "draft_noise": args.draft_noise,
        "text_only": args.text_only,
        "lora": lora if args.lora_r else None,
        "tokens_per_second": token_rate(tokenizer, data.training, data.sizes.n_tokens),
    }


def build_model(
    args: argparse.Namespace, data: Data, accelerator: Accelerator, state: dict[str, object] | None = None
) -> SpeechLLMBase:
    """The model in training mode, as the checkpoint ``state`` holds it.

    Without one it starts from the features' statistics and --from_pretrained. The prompt stays that of the first start:
    some chat templates write today's date.
    """
    config = describe_model(args, data, state.get("prompt_pieces") if state else None)
    dtype = DTYPES[frozen_precision(accelerator)]
    model = build_speech_llm(config, dtype, accelerator.device, attention=args.attention)
    model.checkpoint_layers(args.gradient_checkpointing)
    if state:
        model.load_trained(state["model"])
        return model.train()
    if args.connector == "encoder":
        model.connector.take_layers(read_top_layers(args.speech_enc_id, args.n_layers))
    if model.units is None:
        model.connector.standardize(*channel_statistics(data.source, data.training, model.connector))
    if args.from_pretrained:
        take_over(model, Path(args.from_pretrained))
    return model.train()


def set_learning_rates(
    args: argparse.Namespace, optimizer: torch.optim.Optimizer, step: int, total: int | None
) -> float:
    """A function of the step and the plan: each phase warms up and comes down. Returns the rate of the connector.

    Layers that were the encoder's learn at their own share of it.
    """
    if step < args.ctc_warmup_steps:
        place, length, peaks = step, args.ctc_warmup_steps, (args.ctc_lr, 0.0)
    else:
        place, length = step - args.ctc_warmup_steps, total - args.ctc_warmup_steps if total else None
        peaks = (args.lr, args.lr if args.lora_lr is None else args.lora_lr)
    warmup = min(args.warmup, length) if length else args.warmup
    rates = [learning_rate(place, length, peak, warmup) for peak in peaks]
    for group in optimizer.param_groups:
        group["lr"] = rates[bool(group["lora"])] * group.get("share", 1.0)
    return rates[0]


# %% [markdown]
# ## One step
#
# The batches of a step are a function of the seed and the step alone. All tokens of a step weigh the same, however they
# are split into batches and over processes: `update_weights` of speech_llm/train_step.py.


# %%
def step_batches(
    args: argparse.Namespace, model: SpeechLLMBase, data: Data, accelerator: Accelerator, step: int
) -> Iterator[list[SpeechBatch]]:
    """From ``step`` to the end of its phase: this process's batches of each step."""
    ctc_only, n_batches = step < args.ctc_warmup_steps, args.gradient_accumulation_steps
    n_items = args.ctc_batch_size if ctc_only and args.ctc_batch_size else args.batch_size
    first = n_batches * (step if ctc_only else step - args.ctc_warmup_steps)
    lengths = planned_lengths(model, data.source, data.training, ctc_only=ctc_only, sizes=data.sizes)
    weights = args.data_weights
    return stream_steps(
        model,
        data.source,
        data.training,
        lengths,
        max_positions=(args.ctc_max_positions if ctc_only else args.max_positions) or max(lengths) * n_items,
        max_items=n_items,
        weights=weights and [weights[item.get("dataset", 0)] for item in data.training],
        key=(args.seed, int(ctc_only)),
        first=first,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        n_batches=n_batches,
        n_workers=args.num_workers,
        frame_dropout=args.frame_dropout,
        speeds=training_speeds(args),
        smoothing=args.label_smoothing,
        views=2 if ctc_only and args.ctc_consistency else 1,
    )


# %% [markdown]
# ## Validation
#
# The loss on the true audio, the loss on another's, and the word error rate of what the model writes. The weights of
# the lowest rate are kept in `best/`.


# %%
def chosen_decoding(args: argparse.Namespace) -> dict[str, object]:
    """The flags of decoding, which are saved with the model."""
    return {name: getattr(args, name) for name in DECODING_FLAGS}


def validate_and_keep_best(
    args: argparse.Namespace,
    accelerator: Accelerator,
    run: Run,
    progress: Progress,
    *,
    data: Data,
    model: SpeechLLMBase,
) -> Progress:
    """Evaluate on all processes, log, and save the model where it is the best so far."""
    step, decoding = progress.step, chosen_decoding(args)
    scores = validate(
        model,
        data.source,
        data.validation,
        ctc_only=step <= args.ctc_warmup_steps,
        batch_size=args.generate_batch_size,
        autocast=accelerator.autocast,
        decoding=decoding,
        team=open_team(accelerator),
    )
    write_row(run, step, scores)
    if run.rank0:
        warn_if_audio_unused(step, scores)
    reached = (scores["validation_wer"], scores.get("validation_loss_nat", scores.get("validation_ctc_nat")))
    progress = note_validation(progress, reached)
    if progress.stale == 0 and run.rank0:
        save_pretrained(args.exp / "best", model, {"step": step, "decoding": decoding, "scores": scores})
    return progress


# %% [markdown]
# ## The loop
#
# Every step: validate → save → (stop) → update. A checkpoint holds everything that the next step depends on.


# %%
def run_loop(
    args: argparse.Namespace, accelerator: Accelerator, run: Run, progress: Progress, *, data: Data, learner: Learner
) -> tuple[Progress, bool]:
    """Train until the end, a signal or no more gain; returns where it ended and whether a signal came."""
    batches, step_seconds, validation_seconds = None, [], 0.0
    while True:
        last = is_last(progress)
        switching = progress.step == args.ctc_warmup_steps > 0 and not last
        stopping = any_process(accelerator, bool(run.signals))

        # A stopped run is not kept waiting: it validates when it is resumed.
        due = is_due(progress, args.eval_every, since=progress.validated, ending=last or switching)
        if due and (last or not stopping):
            clock = time.monotonic()
            progress = validate_and_keep_best(args, accelerator, run, progress, data=data, model=learner.model)
            validation_seconds = time.monotonic() - clock
        if switching and progress.validated == progress.step:
            # The LLM's readings begin worse than the head's alone: the best is one of theirs.
            progress = progress._replace(best=NO_BEST, stale=0)
        stalled = has_stalled(progress, args.patience, since=args.ctc_warmup_steps)
        gives_up = bool(args.patience) and any_process(accelerator, stalled)
        if run.rank0 and is_due(progress, args.save_every, since=run.first_step, ending=last or stopping or gives_up):
            weights, moments = learner.model.trained_state(), learner.optimizer.state_dict()
            parts = {"model": weights, "optimizer": moments, "max_positions": args.max_positions}
            parts["prompt_pieces"] = learner.model.pieces
            save_progress(run, "latest", progress, **parts)
        if last or gives_up or stopping:
            return progress, stopping

        clock = time.monotonic()
        ctc_only = progress.step < args.ctc_warmup_steps
        if batches is None or switching:
            batches = step_batches(args, learner.model, data, accelerator, progress.step)
        rate = set_learning_rates(args, learner.optimizer, progress.step, progress.total_steps)
        ready = next(batches)
        waited = torch.tensor(time.monotonic() - clock)
        seed_step(args.seed, progress.step, accelerator.process_index)
        losses = update_weights(
            accelerator,
            learner,
            ready,
            ctc_only=ctc_only,
            ctc_weight=args.ctc_loss_weight,
            consistency=args.ctc_consistency,
            clip=args.clip,
        )
        progress = note_step(run, progress, losses | {"data_seconds": waited})
        seconds = time.monotonic() - clock
        if is_due(progress, args.log_every, ending=is_last(progress) or progress.step == args.ctc_warmup_steps):
            extra = {"learning_rate": rate, "step_seconds": seconds}
            progress = write_losses(run, progress, extra, shown=SHOWN_LOSSES)
        step_seconds += [] if ctc_only else [seconds]
        if progress.total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            left = 60 * args.max_minutes - training_seconds(run)
            more = calibrate(left, step_seconds[CALIBRATION_STEPS.start :], validation_seconds, args.eval_every)
            total_steps = broadcast(accelerator, progress.step + more)
            progress = note_plan(run, progress, total_steps, args.max_minutes)


# %% [markdown]
# ## From the flags to a trained model


# %%
def train(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """Train or continue training; returns the exit code."""
    if has_finished(args.exp, args.steps):
        return 0
    path = find_checkpoint(args.resume, args.exp)
    state = load_checkpoint(path, command="python src/trainer_base.py --do_train …") if path else None

    set_seed(args.seed)
    refuse_no_llm(args.llm_id, args.llm_revision, args.lora_targets if args.lora_r else ())
    data = load_data(args, accelerator)
    model = build_model(args, data, accelerator, state)
    rates = {"lr": args.lr, "top_share": args.top_lr_share or 1.0}
    optimizer = build_optimizer(model, weight_decay=args.weight_decay, **rates)
    progress = Progress(total_steps=args.steps, best=NO_BEST)
    if state:
        progress = restore_progress(state, progress, own=is_own(path, args.exp), keep_plan=bool(args.max_minutes))
    # A run that goes on elsewhere keeps its batches.
    known = state.get("max_positions") if state and is_own(path, args.exp) else None
    fitting = args.max_positions or known or positions_that_fit(model, accelerator.autocast)
    args.max_positions = least(accelerator, fitting)
    learner = Learner(model, *accelerator.prepare(model, optimizer))
    conditions = {"processes": accelerator.num_processes, "precision": accelerator.mixed_precision}
    if state:
        learner.optimizer.load_state_dict(state["optimizer"])
        restore_random_state(state["random_state"])
        note_changes(state, conditions)

    run = start_run(args.exp, progress, conditions, rank0=accelerator.is_main_process)
    describe_size(args.exp, data, model)
    progress, stopping = run_loop(args, accelerator, run, progress, data=data, learner=learner)
    if end_run(run, progress, stopping=stopping):
        return EXIT_STOPPED
    if run.rank0:
        wer = progress.best[0]
        finish_run(run, progress, {"best_validation_wer": wer}, f"validation WER {wer:.3f}")
    return 0


def describe_size(exp: Path, data: Data, model: SpeechLLMBase) -> None:
    hours = sum(item["duration"] for item in data.training) / 3600
    n_trained = sum(value.numel() for value in model.trained_state().values())
    log.info("%s: %.2f h to train on, %.2f M weights to train", exp, hours, n_trained / 1e6)


def generate(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """Transcribe the test splits with the best weights; those of another corpus than the training's carry its name."""
    precision = frozen_precision(accelerator)
    model = from_pretrained(args.exp, DTYPES[precision], accelerator.device, attention=args.attention)
    check_decoding(
        model, decoder=args.decoder, num_beams=args.num_beams, n_best=args.n_best, ctc_weight=args.ctc_weight
    )
    ensemble = [Path(folder) for folder in args.ensemble]
    add_heads(model, ensemble)
    # A corpus that was cut or packed again since is still the model's own.
    own = is_input(args.exp, input_files(args)) or is_same_folder(read_arguments(args.exp).get("data"), args.data)
    for split, items in load_splits(args, args.test_splits).items():
        source = open_features(args, accelerator, [(items, (1.0,))])
        write_predictions(
            args.exp,
            ("ensemble_" if ensemble else "") + (split if own else f"{args.data.resolve().name}_{split}"),
            model,
            source,
            source.keep_known(items),
            decoding=chosen_decoding(args) | {"n_best": args.n_best},
            batch_size=args.generate_batch_size,
            prompt=args.prompt,
            precision=precision,
            ensemble=ensemble,
            team=open_team(accelerator),
        )
    if accelerator.is_main_process and own and len(args.test_splits) == 1 and not (args.fold or ensemble):
        copy_single_split(args.exp, args.test_splits[0])


def is_same_folder(before: str | None, now: Path) -> bool:
    return before is not None and Path(before).resolve() == now.resolve()


def enter_experiment(args: argparse.Namespace) -> None:
    """Make or re-enter the folder; training may be lengthened. A model that only writes must have been trained."""
    changeable = (*LENGTH_FLAGS, "do_train", "do_generate", "cpu", "log_every", "language", "shuffle")
    generation = ("test_splits", *DECODING_FLAGS, *GENERATION_FLAGS)
    if args.do_train:
        open_experiment(args.exp, vars(args), inputs=input_files(args), ignore=(*changeable, *generation))
    else:
        find_saved(args.exp)
    configure_log(args.exp / "train.log")


def main() -> int:
    args = parse_args()
    with only_run(args.exp):
        return train_and_generate(args)


def train_and_generate(args: argparse.Namespace) -> int:
    exit_on_stop_signals()
    accelerator = start_accelerator(
        choose_precision(args.mixed_precision, cpu=args.cpu),
        cpu=args.cpu,
        handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    compute_deterministically(args.deterministic)
    if accelerator.is_main_process:
        enter_experiment(args)
    accelerator.wait_for_everyone()
    with noting_failed_start(args.exp):
        code = train(args, accelerator) if args.do_train else 0
    # Accelerate keeps the trained model, with its LLM, beside the one that writes.
    accelerator.free_memory()
    accelerator.wait_for_everyone()  # until the first has written the best weights
    if code == 0 and args.do_generate:
        generate(args, accelerator)
    accelerator.wait_for_everyone()
    return code


# %% tags=["active-py"]
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 4")

# %% [markdown]
# ## Step by step
#
# In a notebook these cells do what `train` does, one thing at a time, on the CPU and a few utterances. They write
# nothing but what every start keeps in the cache: hashes of the audio, sizes of the texts. First the flags:

# %% tags=["active-ipynb"]
# from IPython.display import Audio
#
# from core.frames import SAMPLE_RATE
# from speech_llm.decoding import transcribe_features
#
# llm, encoder = "HuggingFaceTB/SmolLM2-135M-Instruct", "openai/whisper-base"
# small = "--max_train 20 --max_validation 2 --no_feature_cache --padding short --batch_size 4 --cpu"
# learning = "--factor 2 --ctc_warmup_steps 100 --ctc_compress --ctc_embedding --warmup 1 --dropout 0"
# flags = f"--data data/english --exp exp/none --do_train {small} {learning}".split()
# args = parse_args([*flags, "--llm_id", llm, "--speech_enc_id", encoder])
# accelerator = start_accelerator("no", cpu=args.cpu)

# %% [markdown]
# The data: texts with their audio, and where the features of the audio come from.

# %% tags=["active-ipynb"]
# data = load_data(args, accelerator)
# item = data.training[0]
# print(item["text"], data.source.read([item], [1.0])[0].shape)
# Audio(item["load"](), rate=SAMPLE_RATE)

# %% [markdown]
# The model: only the connector and the CTC head are trained here.

# %% tags=["active-ipynb"]
# model = build_model(args, data, accelerator)
# optimizer = build_optimizer(model, lr=args.lr, weight_decay=args.weight_decay)
# learner = Learner(model, *accelerator.prepare(model, optimizer))
# sum(value.numel() for value in model.trained_parameters())

# %% [markdown]
# One batch: features (B, F, D), padded, with the tokens and characters to be written.

# %% tags=["active-ipynb"]
# batches = next(step_batches(args, model, data, accelerator, step=0))
# batches[0].features.shape, batches[0].answers, batches[0].labels

# %% [markdown]
# A step on this batch, ten times over: its loss falls.

# %% tags=["active-ipynb"]
# rate = set_learning_rates(args, learner.optimizer, 0, args.steps)
# weight = args.ctc_loss_weight
# steps = [update_weights(accelerator, learner, batches, ctc_only=True, ctc_weight=weight, clip=1.0) for _ in range(10)]
# losses = [step["train_ctc_nat"].item() for step in steps]
# losses

# %% [markdown]
# What the CTC head reads of another utterance, and what was said. After ten steps that is nothing yet; after hundreds
# it is letters.

# %% tags=["active-ipynb"]
# features = data.source.read(data.validation, [1.0] * len(data.validation))
# seconds = [item["duration"] for item in data.validation]
# found = transcribe_features(model.eval(), features, seconds, decoder="ctc")
# for item, candidates in zip(data.validation, found):
#     print(item["text"], "->", candidates[0]["text"])
# Audio(data.validation[0]["load"](), rate=SAMPLE_RATE)
