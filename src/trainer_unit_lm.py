# %% [markdown]
# # A language model of units: what sound comes next
#
# Reads phase 1's units of one language or several, or phase 2's tokens, and trains a causal transformer to say which
# one follows. It leaves `checkpoints/latest.pt`, `checkpoints/best.pt` and metrics in `exp/<language>_unit_lm/`.
#
# ```
# python src/trainer_unit_lm.py --language spanish
# python src/trainer_unit_lm.py --language spanish --more_languages english italian --max_minutes 20
# python src/trainer_unit_lm.py --language spanish --init models/SmolLM2-135M --layers 4
# torchrun --standalone --nproc-per-node=2 src/trainer_unit_lm.py --language spanish
# ```

# %%
import core.quiet_start

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_positive,
    require_share,
    run_main,
    says_next,
)
from core.commands import as_typed
from core.device import choose_precision
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.locks import only_run
from languages import add_language_flags, language_paths
from training.checkpoints import load_checkpoint, seed_step
from training.experiment import noting_failed_start, open_experiment
from training.flags import (
    add_machine_flags,
    add_patience_flag,
    add_validation_flag,
    add_watching_flags,
    check_training_flags,
    settle_budget,
)
from training.loop import Work, run_loop
from training.processes import launched_processes, start_accelerator
from training.resuming import (
    Run,
    check_borrowed,
    end_run,
    exit_on_stop_signals,
    find_checkpoint,
    finish_run,
    has_finished,
    is_own,
    note_changes,
    start_run,
)
from training.schedule import add_budget_flags, learning_rate, plan_steps
from training.training_state import Losses, Progress, restore_progress
from unit_lm.batches import (
    PackedBatch,
    Piece,
    count_targets,
    cut_pieces,
    move,
    pack_pieces,
    rows_of_step,
    share_rows,
    stack_rows,
)
from unit_lm.decoder import (
    ARCHITECTURES,
    Shape,
    add_dropout,
    build_decoder,
    describe_config,
    new_config,
    read_config,
    seed_embeddings,
)
from unit_lm.inputs import (
    LanguageInputs,
    build_vocabulary,
    copy_block_units,
    corpora,
    find_languages,
    input_files,
    read_centroids,
)
from unit_lm.scoring import as_bits, utterance_nats
from unit_lm.train_step import Learner, learner_state, load_learner, prepare_learner, update
from unit_lm.utterances import UnitUtterance, read_utterances, seconds_of, shuffle_units, tokenize
from unit_lm.vocabulary import KINDS, Vocabulary, allowed_tokens, count_tokens, describe_vocabulary
from unit_lm.warm_start import NOISE, start_model
from units.selection import add_selection_flags, check_selection, read_selection
from units.unit_table import open_table

log = logging.getLogger("oral_units")

DEFAULT_STEPS = 1000
SHAPE_FLAGS = ("architecture", "layers", "width", "heads", "feedforward")

# %% [markdown]
# ## Arguments
#
# - **Deduplicated units** (`--input units`): the timing is left to the prosody predictor. `frames` learns it too, and
#   suits units that hardly flicker (`--duration_penalty` of phase 1). `bpe` are phase 2's tokens.
# - **Rows of 512 places**: some twelve seconds. Short utterances share a row, and none sees another.
# - **Embeddings start from the centroids**: units that sound alike begin alike, which minutes of speech cannot teach.
# - **Dropout 0.1**: an hour of speech is seen several times.


# %%
DESCRIPTION = """Train a language model of units: it says which unit follows, and so can continue speech.

Reads phase 1's corpus_timestamped.json of one language or several, or phase 2's tokens of it. Writes
exp/<language>_unit_lm/ with the model (checkpoints/) and the course of the training (metrics.jsonl).

    python src/trainer_unit_lm.py --language spanish

More: docs/language_model.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=HELP_FORMATTER)
    add_data_flags(add_language_flags(parser))
    add_experiment_flags(parser)
    add_selection_flags(parser)
    add_model_flags(parser.add_argument_group("model"))
    add_budget_flags(parser, DEFAULT_STEPS)
    add_training_flags(parser.add_argument_group("training"))
    add_watching_flags(watching := parser.add_argument_group("watching"), log_every=20, eval_every=100, save_every=100)
    add_validation_flag(watching, 600.0)
    add_machine_flags(parser.add_argument_group("machine"))
    everyday = ["language", "tag", "more_languages", "input", "exp", "resume", "overwrite", "init", "layers", "width"]
    args = parse_flags(parser, argv, everyday=[*everyday, "steps", "max_minutes", "batch_size", "seed", "cpu"])
    settle_budget(args, DEFAULT_STEPS)
    check_args(args)
    return args


def check_args(args: argparse.Namespace) -> None:
    """Refuse what cannot be obeyed."""
    check_training_flags(args)
    require_positive(args, "layers", "width", "heads", "feedforward", "context", "validation_seconds")
    require_share(args, "dropout", "ema")
    if args.context < 8:
        raise UserError(f"--context {args.context}: expected 8 or more")
    if args.bpe_exp is not None and args.input != "bpe":
        raise UserError("--bpe_exp: says whose tokens are read, and needs --input bpe")
    given = [name for name in SHAPE_FLAGS if name != "layers" and getattr(args, name) is not None]
    if args.init != NOISE and given:
        raise UserError(f"--{given[0]}: --init gives the model its shape; leave one of the two out")


def add_data_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--more_languages",
        nargs="+",
        default=[],
        metavar="LANGUAGE",
        help="learn from these too, each with a token of its own; languages whose units are the same share them",
    )
    group.add_argument(
        "--input",
        choices=KINDS,
        default="units",
        help="units: one for each run; frames: one every 20 ms; bpe: tokens of phase 2",
    )
    group.add_argument(
        "--bpe_exp",
        type=Path,
        default=None,
        help="with --input bpe: one folder of phase 2 for all languages, which must share their units; by default "
        "each language's own",
    )
    group.add_argument(
        "--shuffle_units", action="store_true", help="the control: learn from utterances whose units are shuffled"
    )


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    default = Shape()
    group.add_argument(
        "--architecture", choices=ARCHITECTURES, default=None, help=f"shape of the layers ({default.architecture})"
    )
    group.add_argument(
        "--layers", type=int, default=None, help=f"layers ({default.layers}); with --init: its first so many"
    )
    group.add_argument("--width", type=int, default=None, help=f"channels ({default.width})")
    group.add_argument("--heads", type=int, default=None, help=f"heads of attention ({default.heads})")
    group.add_argument(
        "--feedforward", type=int, default=None, help="channels inside a layer (llama: 8/3 of --width, opt: 4 times)"
    )
    group.add_argument("--context", type=int, default=512, help="tokens of a row, as many as the model sees")
    group.add_argument("--dropout", type=float, default=0.1, help="share dropped of what each part of a layer adds")
    group.add_argument(
        "--init",
        default=NOISE,
        metavar="PATH",
        help="start from a text language model's folder, with new embeddings, or from another experiment of this "
        "script; none: from noise",
    )
    group.add_argument(
        "--random_embeddings", action="store_true", help="do not start the units' embeddings from the centroids"
    )
    group.add_argument("--ema", type=float, default=0.999, help="largest decay of the averaged weights; 0: none")


def add_training_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--batch_size", "--bsize", type=int, default=4, help="rows a step, over all processes")
    group.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of AdamW")
    group.add_argument("--warmup", type=int, default=50, help="steps of linear warm-up")
    group.add_argument("--weight_decay", "--wdecay", type=float, default=0.1, help="decoupled, of matrices")
    group.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add_patience_flag(group)
    group.add_argument("--seed", type=int, default=0, help="seed of weights, order and dropout")


# %% [markdown]
# ## Data


# %%
class Data(NamedTuple):
    vocabulary: Vocabulary
    pieces: list[Piece]  # of the training split
    rows: list[list[int]]  # numbers of the pieces that share a row
    validation: list[UnitUtterance]
    hours: float  # of the training split


def load_data(args: argparse.Namespace, inputs: Sequence[LanguageInputs], vocabulary: Vocabulary) -> Data:
    """The training split, packed, and an even spread of the validation split."""
    selection = read_selection(vars(args))
    training = read_utterances(corpora(inputs), ["train"], selection)
    if args.shuffle_units:
        training = [shuffle_units(utterance, args.seed, place) for place, utterance in enumerate(training)]
    validation = read_utterances(corpora(inputs), ["val"], selection)
    seconds = sum(map(seconds_of, validation))
    pieces = [
        piece
        for utterance, tokens in zip(training, tokenize(vocabulary, training))
        for piece in cut_pieces(vocabulary, utterance.language, tokens, args.context)
    ]
    rows = pack_pieces([len(piece.inputs) for piece in pieces], args.context)
    hours = sum(map(seconds_of, training)) / 3600
    return Data(vocabulary, pieces, rows, validation[:: max(1, int(seconds / args.validation_seconds))], hours)


def read_batch(args: argparse.Namespace, data: Data, step: int, accelerator: Accelerator) -> tuple[PackedBatch, int]:
    """This process's rows of ``step``, and the targets of the whole step; a function of (seed, step) alone."""
    rows = [data.rows[number] for number in rows_of_step(len(data.rows), args.batch_size, args.seed, step)]
    n_targets = count_targets([data.pieces[number] for row in rows for number in row])
    own = share_rows(rows, accelerator.process_index, accelerator.num_processes)
    return move(stack_rows(data.pieces, own, args.context), accelerator.device), n_targets


# %% [markdown]
# ## Model


# %%
def build_model(
    args: argparse.Namespace,
    inputs: Sequence[LanguageInputs],
    vocabulary: Vocabulary,
    state: dict[str, object] | None = None,
) -> PreTrainedModel:
    """The transformer as --init and the flags say, or of the shape that the checkpoint ``state`` has."""
    if state:
        return with_dropout(build_decoder(read_config(state["sizes"])), args.dropout)
    known: set[int] = set()
    if args.init != NOISE:
        model, known = start_model(Path(args.init), vocabulary, layers=args.layers, context=args.context)
    else:
        given = {name: getattr(args, name) for name in SHAPE_FLAGS if getattr(args, name) is not None}
        model = build_decoder(new_config(Shape(**given), count_tokens(vocabulary), args.context))
    if not args.random_embeddings:
        books = read_centroids(inputs, vocabulary)
        seed_embeddings(model, vocabulary, [None if block in known else book for block, book in enumerate(books)])
    return with_dropout(model, args.dropout)


def with_dropout(model: PreTrainedModel, dropout: float) -> PreTrainedModel:
    add_dropout(model, dropout)
    return model


def model_state(args: argparse.Namespace, learner: Learner, data: Data) -> dict[str, object]:
    """Weights, average and optimizer, and what they mean, for a checkpoint."""
    return {
        "sizes": describe_config(learner.model.config),
        "vocabulary": describe_vocabulary(data.vocabulary),
        "context": args.context,
        **learner_state(learner),
    }


# %% [markdown]
# ## One step, and validation
#
# Dropout is drawn from (seed, step): a resumed run draws what an uninterrupted one would have drawn.


# %%
def train_step(
    args: argparse.Namespace, accelerator: Accelerator, learner: Learner, data: Data, progress: Progress
) -> Losses:
    """One update of the weights; returns its losses."""
    rate = learning_rate(progress.step, progress.total_steps, args.lr, args.warmup)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    batch, n_targets = read_batch(args, data, progress.step, accelerator)
    seed_step(args.seed, progress.step, accelerator.process_index)
    allowed = torch.from_numpy(allowed_tokens(data.vocabulary)).to(accelerator.device)
    sizes = {"n_targets": n_targets, "clip": args.clip}
    return update(accelerator, learner, batch, allowed, step=progress.step, ema=args.ema, **sizes)


def validate(args: argparse.Namespace, model: PreTrainedModel, data: Data) -> dict[str, float]:
    """Bits of the averaged weights for each second of speech and for each token."""
    utterances, vocabulary = data.validation, data.vocabulary
    device = next(model.parameters()).device
    pairs = [(one.language, tokens) for one, tokens in zip(utterances, tokenize(vocabulary, utterances))]
    allowed = torch.from_numpy(allowed_tokens(vocabulary)).to(device)
    bf16 = choose_precision(args.mixed_precision, cpu=args.cpu) == "bf16"
    nats = list(utterance_nats(model, vocabulary, pairs, allowed, args.context, bf16=bf16))
    bits, n_tokens = as_bits(sum(float(row.sum()) for row in nats)), sum(map(len, nats))
    seconds = sum(map(seconds_of, utterances))
    return {"validation_bits_per_second": bits / seconds, "validation_bits_per_token": bits / n_tokens}


# %% [markdown]
# ## The loop
#
# Every step: validate → save → (stop) → update (`training/loop.py`).


# %%
def train(
    args: argparse.Namespace, accelerator: Accelerator, run: Run, progress: Progress, *, data: Data, learner: Learner
) -> tuple[Progress, bool]:
    """Train to the end or to a stop signal; returns where the training stands, and whether it was told to stop."""
    work = Work(
        update=lambda now: train_step(args, accelerator, learner, data, now),
        validate=lambda: validate(args, learner.model_ema, data),
        judged_by="validation_bits_per_second",
        state=lambda: model_state(args, learner, data),
        optimizer=learner.optimizer,
        shown=["train_token_nat"],
    )
    return run_loop(args, run, progress, work, accelerator=accelerator)


# %% [markdown]
# ## From the first line to the last


# %%
def main() -> int:
    args = parse_args()
    with only_run(args.exp or language_paths(args.language, args.tag)["unit_lm"]):
        return train_unit_lm(args)


def train_unit_lm(args: argparse.Namespace) -> int:
    share_rows(range(args.batch_size), 0, launched_processes())
    exit_on_stop_signals()
    paths = language_paths(args.language, args.tag)
    exp = args.exp or paths["unit_lm"]
    languages = [args.language, *args.more_languages]
    inputs = find_languages(languages, args.tag, kind=args.input, bpe=args.bpe_exp)
    vocabulary = build_vocabulary(inputs, args.input)
    precision = choose_precision(args.mixed_precision, cpu=args.cpu)
    accelerator = start_accelerator(precision, cpu=args.cpu)
    if accelerator.is_main_process:
        enter_experiment(args, exp, inputs, vocabulary)
    accelerator.wait_for_everyone()
    if has_finished(exp, args.steps):
        return 0
    checkpoint = find_checkpoint(args.resume, exp)
    state = load_checkpoint(checkpoint, command=f"python src/{Path(__file__).name}") if checkpoint else None

    set_seed(args.seed)
    with noting_failed_start(exp):
        data = load_data(args, inputs, vocabulary)
        model = build_model(args, inputs, vocabulary, state)
        learner = prepare_learner(accelerator, model, lr=args.lr, weight_decay=args.weight_decay)
        progress = Progress(
            total_steps=plan_steps(args.steps, args.epochs, n_items=len(data.rows), batch_size=args.batch_size)
        )
        if state:
            progress = restore(args, checkpoint, state, progress, exp=exp, data=data, learner=learner)
    conditions = {"precision": precision, "processes": accelerator.num_processes}
    run = start_run(exp, progress, conditions, rank0=accelerator.is_main_process)
    if state and run.rank0:
        note_changes(state, run.conditions)
    describe_run(run, data, learner)
    progress, stopping = train(args, accelerator, run, progress, data=data, learner=learner)

    if end_run(run, progress, stopping=stopping):
        return EXIT_STOPPED
    if run.rank0:
        best = {"best_validation_bits_per_second": progress.best}
        finish_run(run, progress, best, f"validation {progress.best:.1f} bits a second")
        if says_next():
            log.info("next: %s", as_typed("python", "src/unit_lm_test.py", "--exp", exp))
    return 0


def restore(
    args: argparse.Namespace,
    checkpoint: Path,
    state: dict[str, object],
    planned: Progress,
    *,
    exp: Path,
    data: Data,
    learner: Learner,
) -> Progress:
    """The weights of a checkpoint, and where its training stood; another experiment's must fit."""
    own = is_own(checkpoint, exp)
    if not own:
        vocabulary = data.vocabulary
        described = {"sizes": describe_config(learner.model.config), "context": args.context}
        described |= {"languages": list(vocabulary.languages), "digests": list(vocabulary.digests)}
        found = state | {name: state["vocabulary"][name] for name in ("languages", "digests")}
        check_borrowed(found, checkpoint, described, planned.total_steps)
    load_learner(learner, state)
    keep_plan = args.max_minutes is not None
    device = next(learner.model.parameters()).device
    return restore_progress(state, planned, own=own, keep_plan=keep_plan, device=device)


def enter_experiment(
    args: argparse.Namespace, exp: Path, inputs: Sequence[LanguageInputs], vocabulary: Vocabulary
) -> None:
    """Make or re-enter the folder; phase 1's clusters are copied: they are what the units mean."""
    selection = read_selection(vars(args))
    taken = []
    for entry in inputs:
        paths = language_paths(entry.language)
        taken += check_selection(open_table(entry.corpus, paths["cache"]), selection, splits=paths["splits"])
    derived = {
        "language": args.language,
        "languages": [entry.language for entry in inputs],
        "inputs": {entry.language: entry.described for entry in inputs},
        "digests": list(vocabulary.digests),
        "n_tokens": count_tokens(vocabulary),
    }
    changeable = ("steps", "patience", "log_every", "cpu")
    open_experiment(exp, vars(args), inputs=input_files(inputs), derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    for line in taken:
        log.info("%s", line)
    copy_block_units(inputs, vocabulary, exp)


def describe_run(run: Run, data: Data, learner: Learner) -> None:
    if not run.rank0:
        return
    n_weights = sum(value.numel() for value in learner.model.parameters())
    n_targets = count_targets(data.pieces)
    text = "%s: %.2f h, %d tokens in %d rows to train on, %.2f M weights, %d threads"
    log.info(text, run.exp, data.hours, n_targets, len(data.rows), n_weights / 1e6, torch.get_num_threads())


# %% tags=["active-py"]
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 1")

# %% [markdown]
# ## Step by step
#
# In a notebook these cells do what `main` does, one thing at a time. They read a language's units
# (`bash scripts/run_phase1.sh spanish` makes them) and leave no experiment behind.

# %% tags=["active-ipynb"]
# args = parse_args("--language spanish --steps 50 --width 64 --layers 2 --context 128 --cpu".split())
# inputs = find_languages([args.language, *args.more_languages], args.tag, kind=args.input)
# vocabulary = build_vocabulary(inputs, args.input)
# accelerator = start_accelerator("no", cpu=args.cpu)
# set_seed(args.seed)

# %% [markdown]
# The data: utterances cut into pieces, and the pieces packed into rows.

# %% tags=["active-ipynb"]
# data = load_data(args, inputs, vocabulary)
# print(f"{data.hours:.2f} h, {len(data.pieces)} pieces in {len(data.rows)} rows")
# data.pieces[0].inputs[:10], data.pieces[0].targets[:10]

# %% [markdown]
# The model, and one batch: which piece each place of a row belongs to.

# %% tags=["active-ipynb"]
# learner = prepare_learner(accelerator, build_model(args, inputs, vocabulary), lr=args.lr, weight_decay=0.1)
# batch, n_targets = read_batch(args, data, 0, accelerator)
# {name: tuple(tensor.shape) for name, tensor in batch._asdict().items()}

# %% [markdown]
# One step. Run this cell as often as you like; `progress` counts the steps.

# %% tags=["active-ipynb"]
# progress = Progress(total_steps=args.steps)
# losses = train_step(args, accelerator, learner, data, progress)
# progress = progress._replace(step=progress.step + 1)
# {name: round(value.item(), 3) for name, value in losses.items()}

# %% [markdown]
# What it would say next, as units; after one step that is noise. A tone for each: the lower the id, the lower.

# %% tags=["active-ipynb"]
# import numpy as np
# from IPython.display import Audio
#
# from core.frames import HOP_SAMPLES, SAMPLE_RATE
# from unit_lm.generation import Sampling, continue_tokens
# from unit_lm.vocabulary import decode_symbols, frame_tokens
#
# start = frame_tokens(vocabulary, args.language, np.zeros(0, np.int64), ended=False)
# sampling = Sampling(temperature=1.0, top_p=0.9, seed=0)
# sizes = {"context": args.context, "longest": 50}
# said = continue_tokens(learner.model_ema, vocabulary, args.language, start, sampling, sample=0, **sizes)
# units, _ = decode_symbols(vocabulary, args.language, said)
# tones = np.repeat(200 + units.astype(float), 4 * HOP_SAMPLES)
# Audio(np.sin(2 * np.pi * np.cumsum(tones) / SAMPLE_RATE), rate=SAMPLE_RATE)
