# %% [markdown]
# # Translation between voices: what is said in one language, in the units of another
#
# Reads pairs of recordings that say the same (a table), and the units of phase 1. It trains an encoder that hears the
# sources, and a decoder that says units of the target. No text of the target is read. It leaves
# `checkpoints/latest.pt`, `checkpoints/best.pt` and metrics in `exp/<source>_<target>_translation/`.
#
# ```
# bash recipes/prompt_pairs/prepare.sh
# python src/trainer_translation.py --source english --target spanish --pairs data/prompt_pairs/pairs.tsv
# python src/trainer_translation.py --source english --source italian --target spanish --features whisper-folder
# torchrun --standalone --nproc-per-node=2 src/trainer_translation.py --source english --target spanish
# ```

# %%
import core.quiet_start

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from accelerate import Accelerator
from accelerate.utils import set_seed

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_not_negative,
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
from encoders.table import last_layer, parse_features
from encoders.whisper import PADDINGS
from languages import data_root, exp_root
from models.translator import Translator
from training.checkpoints import load_checkpoint, seed_step
from training.experiment import noting_failed_start, open_experiment
from training.flags import (
    add_machine_flags,
    add_patience_flag,
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
from translation.examples import Example, PairBatch, move_batch, places_of_step, shuffle_targets, stack_examples
from translation.hearing import FEATURES, Hearing, describe_hearing
from translation.pairs import Pair, both_sides, has_length, of_split, read_pairs
from translation.preparing import (
    hear_spans,
    letters_of,
    make_examples,
    open_features,
    open_units,
)
from translation.saved_translator import build_translator, describe_sizes, join_parts, silence
from translation.scoring import validation_losses
from translation.spans import FEATURE_FOLDER, FeatureChoice, read_features
from translation.train_step import Totals, Weights, update
from unit_lm.batches import share_rows
from unit_lm.decoder import Shape, build_decoder, new_config, seed_embeddings
from unit_lm.inputs import (
    LanguageInputs,
    build_vocabulary,
    copy_block_units,
    corpora,
    find_languages,
    input_files,
    read_centroids,
)
from unit_lm.train_step import Learner, learner_state, load_learner, prepare_learner
from unit_lm.vocabulary import KINDS, Vocabulary, allowed_tokens, count_tokens, describe_vocabulary
from unit_lm.warm_start import NOISE, start_model

log = logging.getLogger("oral_units")

DEFAULT_STEPS = 400

# %% [markdown]
# ## Arguments
#
# - **Minutes of pairs**: a few hundred pairs are seen dozens of times. So dropout is strong, and places of the source
#   are left out at random.
# - **The contrastive loss** pulls together what source and target are about. It trains retrieval directly.
# - **The target alone** is learnt too. What a source adds is then a difference of two log-probabilities.


# %%
DESCRIPTION = """Train a translator between voices: recordings of one language become units of another.

Reads a table of pairs (recipes/prompt_pairs makes one), phase 1's units of the target and, without --features, of the
sources. Writes exp/<source>_<target>_translation/ with the model (checkpoints/) and metrics.jsonl.

    python src/trainer_translation.py --source english --target spanish --pairs data/prompt_pairs/pairs.tsv

More: docs/translation.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=HELP_FORMATTER)
    add_data_flags(parser.add_argument_group("pairs"))
    add_experiment_flags(parser)
    add_hearing_flags(parser.add_argument_group("what is heard and said"))
    add_model_flags(parser.add_argument_group("model"))
    add_budget_flags(parser, DEFAULT_STEPS)
    add_loss_flags(parser.add_argument_group("losses"))
    add_training_flags(parser.add_argument_group("training"))
    add_watching_flags(parser.add_argument_group("watching"), log_every=10, eval_every=25, save_every=50)
    add_machine_flags(parser.add_argument_group("machine"))
    everyday = ["source", "target", "pairs", "tag", "exp", "resume", "overwrite", "features", "init", "steps"]
    args = parse_flags(
        parser, argv, everyday=[*everyday, "max_minutes", "batch_size", "contrast_weight", "seed", "cpu"]
    )
    args.pairs = args.pairs or data_root() / "prompt_pairs" / "pairs.tsv"
    settle_budget(args, DEFAULT_STEPS)
    check_args(args)
    return args


def check_args(args: argparse.Namespace) -> None:
    """Refuse what cannot be obeyed."""
    check_training_flags(args)
    require_positive(args, "encoder_layers", "layers", "width", "heads", "context", "stack", "max_seconds")
    require_not_negative(args, "text_weight", "token_weight", "alone_weight", "contrast_weight", "min_seconds")
    require_share(args, "dropout", "source_dropout", "ema")
    if args.target in args.source or len(set(args.source)) < len(args.source):
        raise UserError(f"--source {' '.join(args.source)} --target {args.target}: expected each language once")
    if args.features and args.source_input:
        raise UserError("--source_input and --features both say what is heard; give one")
    if args.features is None and (args.padding != "full" or args.stack != 4):
        raise UserError("--padding and --stack belong to --features; leave them out")
    if args.init != NOISE and args.layers is not None and (Path(args.init) / "checkpoints").is_dir():
        raise UserError("--layers: --init gives the decoder its shape; leave one of the two out")
    if retrieves_alone(args) and not args.contrast_weight:
        raise UserError("--token_weight 0 --alone_weight 0 --contrast_weight 0: expected a loss that counts; raise one")
    if args.bpe_exp is not None and "bpe" not in (args.source_input, args.target_input):
        raise UserError("--bpe_exp: says whose tokens are read, and needs --source_input bpe or --target_input bpe")


def add_data_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--source", action="append", required=True, metavar="LANGUAGE", help="language heard; again for a further one"
    )
    group.add_argument("--target", required=True, metavar="LANGUAGE", help="language whose units are said")
    group.add_argument(
        "--pairs", type=Path, default=None, help="table of pairs (data/prompt_pairs/pairs.tsv); docs/data_formats.md"
    )
    group.add_argument(
        "--tag", default=os.environ.get("TAG", ""), help="suffix of the units' experiments, as in exp/spanish_units_w4"
    )
    group.add_argument("--min_seconds", type=float, default=0.0, help="learn from no pair whose target is shorter")
    group.add_argument("--max_seconds", type=float, default=None, help="learn from no pair whose target is longer")
    group.add_argument(
        "--shuffle_pairs",
        action="store_true",
        help="the control: each source learns the target of another pair of like length",
    )


def add_hearing_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--source_input", choices=KINDS, default=None, help="what is heard, from phases 1 and 2 (units)")
    group.add_argument(
        "--features",
        metavar="ENCODER[@LAYER]",
        default=None,
        help="hear an encoder's features instead: mfcc, logmel, or a model's folder, such as a Whisper",
    )
    group.add_argument("--stack", type=int, default=4, help="frames of features in a place of the encoder")
    group.add_argument("--padding", choices=PADDINGS, default="full", help="of a Whisper's input; short is faster")
    group.add_argument("--target_input", choices=KINDS, default="units", help="what is said")
    group.add_argument("--bpe_exp", type=Path, default=None, help="with bpe: one folder of phase 2 for all languages")


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--encoder_layers", type=int, default=2, help="layers of the encoder")
    group.add_argument("--layers", type=int, default=None, help="layers of the decoder (2)")
    group.add_argument("--width", type=int, default=128, help="channels of the encoder, and of a new decoder")
    group.add_argument("--heads", type=int, default=4, help="heads of attention")
    group.add_argument("--context", type=int, default=512, help="places of source and target together")
    group.add_argument("--dropout", type=float, default=0.2, help="share dropped of what each part of a layer adds")
    group.add_argument("--source_dropout", type=float, default=0.15, help="share of the source's places left out")
    group.add_argument(
        "--init",
        default=NOISE,
        metavar="PATH",
        help="start the decoder from a language model of units (trainer_unit_lm.py), or of text; none: from noise",
    )
    group.add_argument("--ema", type=float, default=0.99, help="largest decay of the averaged weights; 0: none")


def add_loss_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token_weight", type=float, default=1.0, help="of the target behind its source; 0: learn retrieval alone"
    )
    group.add_argument("--alone_weight", type=float, default=0.5, help="of the target without a source")
    group.add_argument("--contrast_weight", type=float, default=1.0, help="of the contrastive loss; 0: none")
    group.add_argument("--text_weight", type=float, default=0.0, help="of the source's text, where it is written")


def add_training_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--batch_size", "--bsize", type=int, default=32, help="pairs a step, over all processes")
    group.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of AdamW")
    group.add_argument("--warmup", type=int, default=30, help="steps of linear warm-up")
    group.add_argument("--weight_decay", "--wdecay", type=float, default=0.1, help="decoupled, of matrices")
    group.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add_patience_flag(group)
    group.add_argument("--seed", type=int, default=0, help="seed of weights, order and dropout")


# %% [markdown]
# ## Data


# %%
class Inputs(NamedTuple):
    """The finished phases that a training stands on."""

    heard: list[LanguageInputs]  # of all languages, the target the last; none with features
    said: list[LanguageInputs]  # of the target alone


class Data(NamedTuple):
    hearing: Hearing
    vocabulary: Vocabulary  # of the target
    letters: list[str]  # of the sources' texts; none without a text loss
    training: list[Example]
    validation: list[Example]


def find_inputs(args: argparse.Namespace) -> Inputs:
    """Units of the target and, without features, of every language; UserError where a phase is not finished."""
    kind = args.source_input or "units"
    languages = [] if args.features else [*args.source, args.target]
    heard = find_languages(languages, args.tag, kind=kind, bpe=args.bpe_exp if kind == "bpe" else None)
    bpe = args.bpe_exp if args.target_input == "bpe" else None
    return Inputs(heard, find_languages([args.target], args.tag, kind=args.target_input, bpe=bpe))


def choose_features(args: argparse.Namespace) -> FeatureChoice:
    encoder, layer = parse_features(args.features)
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    return FeatureChoice(encoder, last_layer(encoder) if layer is None else layer, args.padding, args.stack, device)


def load_pairs(args: argparse.Namespace) -> list[Pair]:
    """All pairs; those of the training split by their length."""
    pairs = read_pairs(args.pairs, args.source, args.target)
    return [pair for pair in pairs if pair.split != "train" or has_length(pair, args.min_seconds, args.max_seconds)]


def load_data(args: argparse.Namespace, inputs: Inputs, pairs: Sequence[Pair]) -> Data:
    """The pairs of training and validation with all that the model needs of them."""
    pairs = [pair for pair in pairs if pair.split != "test"]
    features = {}
    if args.features:
        choice = choose_features(args)
        features = read_features(data_root() / FEATURE_FOLDER, both_sides(pairs), choice)
        hearing = open_features(pairs, features, choice, [*args.source, args.target])
    else:
        hearing = open_units(inputs.heard, args.source_input or "units")
    vocabulary = build_vocabulary(inputs.said, args.target_input)
    letters = letters_of(pairs) if args.text_weight else []
    sounds = hear_spans(hearing, both_sides(pairs), features, corpora(inputs.heard))
    corpus = inputs.said[0].corpus
    training, validation = (
        make_examples(of_split(pairs, split), sounds, vocabulary, corpus, context=args.context, letters=letters)
        for split in ("train", "val")
    )
    if not training or not validation:
        raise UserError(f"{args.pairs}: expected pairs in split train and val, found none in one of them; add some")
    if args.shuffle_pairs:
        training = shuffle_targets(training, args.seed)
    return Data(hearing, vocabulary, letters, training, validation)


def read_batch(args: argparse.Namespace, data: Data, step: int, accelerator: Accelerator) -> tuple[PairBatch, Totals]:
    """This process's pairs of ``step``, and the totals of the whole step; a function of (seed, step) alone."""
    places = places_of_step([one.seconds[1] for one in data.training], args.batch_size, args.seed, step)
    chosen = [data.training[place] for place in places]
    totals = Totals(sum(len(one.target) - 1 for one in chosen), sum(len(one.letters) for one in chosen))
    own = share_rows(places, accelerator.process_index, accelerator.num_processes)
    batch = stack_examples([data.training[place] for place in own])
    numbers = {name: number for number, name in enumerate(sorted({one.pair.prompt for one in chosen}))}
    prompts = torch.tensor([numbers[data.training[place].pair.prompt] for place in own])
    return move_batch(batch._replace(prompts=prompts), accelerator.device), totals


# %% [markdown]
# ## Model


# %%
def build_model(
    args: argparse.Namespace, inputs: Inputs, data: Data, state: dict[str, object] | None = None
) -> Translator:
    """The translator as --init and the flags say, or of the shape that the checkpoint ``state`` has."""
    dropouts = {"dropout": args.dropout, "source_dropout": args.source_dropout}
    if state:
        model = build_translator(state["sizes"], **dropouts)
        return silence(model) if retrieves_alone(args) else model
    shape = Shape(layers=args.encoder_layers, width=args.width, heads=args.heads)
    encoder = build_decoder(new_config(shape, count_tokens(data.hearing.vocabulary), args.context))
    if data.hearing.kind != FEATURES:
        seed_embeddings(encoder, data.hearing.vocabulary, read_centroids(inputs.heard, data.hearing.vocabulary))
    if args.init != NOISE:
        decoder, _ = start_model(Path(args.init), data.vocabulary, layers=args.layers, context=args.context)
    else:
        shape = shape._replace(layers=args.layers or Shape().layers // 2)
        decoder = build_decoder(new_config(shape, count_tokens(data.vocabulary), args.context))
        seed_embeddings(decoder, data.vocabulary, read_centroids(inputs.said, data.vocabulary))
    n_features = data.training[0].source.features.shape[1]
    n_letters = len(data.letters) + 1 if data.letters else 0
    model = join_parts(encoder, decoder, n_features=n_features, n_letters=n_letters, **dropouts)
    return silence(model) if retrieves_alone(args) else model


def retrieves_alone(args: argparse.Namespace) -> bool:
    return not (args.token_weight or args.alone_weight)


def model_state(args: argparse.Namespace, learner: Learner, data: Data) -> dict[str, object]:
    """Weights, average and optimizer, and what they mean, for a checkpoint."""
    return {
        "sizes": describe_sizes(learner.model),
        "hearing": describe_hearing(data.hearing),
        "vocabulary": describe_vocabulary(data.vocabulary),
        "letters": data.letters,
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
    batch, totals = read_batch(args, data, progress.step, accelerator)
    seed_step(args.seed, progress.step, accelerator.process_index)
    weights = Weights(args.token_weight, args.alone_weight, args.contrast_weight, args.text_weight)
    how = {"totals": totals, "weights": weights, "clip": args.clip, "step": progress.step, "ema": args.ema}
    return update(accelerator, learner, batch, may_be_said(data, accelerator.device), **how)


def may_be_said(data: Data, device: torch.device) -> torch.Tensor:
    """(V,) bool: the target's symbols and <end>."""
    return torch.from_numpy(allowed_tokens(data.vocabulary)[0]).to(device)


def validate(args: argparse.Namespace, model: Translator, data: Data) -> dict[str, float]:
    """Losses of the averaged weights on the validation split."""
    allowed = may_be_said(data, model.log_sharpness.device)
    weights = (args.token_weight, args.contrast_weight)
    return validation_losses(model, allowed, data.validation, weights)


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
        judged_by="validation_loss_nat",
        state=lambda: model_state(args, learner, data),
        optimizer=learner.optimizer,
        shown=["train_token_nat", "train_contrast_nat"],
    )
    return run_loop(args, run, progress, work, accelerator=accelerator)


# %% [markdown]
# ## From the first line to the last


# %%
def main() -> int:
    args = parse_args()
    with only_run(args.exp or name_experiment(args)):
        return run_training(args, args.exp or name_experiment(args))


def run_training(args: argparse.Namespace, exp: Path) -> int:
    share_rows(range(args.batch_size), 0, launched_processes())
    exit_on_stop_signals()
    inputs, pairs = find_inputs(args), load_pairs(args)
    precision = choose_precision(args.mixed_precision, cpu=args.cpu)
    accelerator = start_accelerator(precision, cpu=args.cpu)
    if accelerator.is_main_process:
        enter_experiment(args, exp, inputs)
    accelerator.wait_for_everyone()
    if has_finished(exp, args.steps):
        return 0
    checkpoint = find_checkpoint(args.resume, exp)
    state = load_checkpoint(checkpoint, command=f"python src/{Path(__file__).name}") if checkpoint else None

    set_seed(args.seed)
    with noting_failed_start(exp):
        with accelerator.main_process_first():  # the others find the features that it has made
            data = load_data(args, inputs, pairs)
        learner = prepare_learner(
            accelerator, build_model(args, inputs, data, state), lr=args.lr, weight_decay=args.weight_decay
        )
        n_items = len(data.training)
        progress = Progress(
            total_steps=plan_steps(args.steps, args.epochs, n_items=n_items, batch_size=args.batch_size)
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
        best = {"best_validation_loss_nat": progress.best}
        finish_run(run, progress, best, f"validation {progress.best:.3f} nats")
        if says_next():
            log.info("next: %s", as_typed("python", "src/translation_test.py", "--exp", exp))
    return 0


def name_experiment(args: argparse.Namespace) -> Path:
    return exp_root() / "_".join(filter(None, [*args.source, args.target, "translation", args.tag]))


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
        described = {"sizes": describe_sizes(learner.model), "context": args.context, "letters": data.letters}
        described |= {"vocabulary": describe_vocabulary(data.vocabulary)}
        check_borrowed(state, checkpoint, described, planned.total_steps)
    load_learner(learner, state)
    keep_plan = args.max_minutes is not None
    device = learner.model.log_sharpness.device
    return restore_progress(state, planned, own=own, keep_plan=keep_plan, device=device)


def enter_experiment(args: argparse.Namespace, exp: Path, inputs: Inputs) -> None:
    """Make or re-enter the folder; the clusters of the target, and of what is heard, are copied."""
    derived = {
        "sources": args.source,
        "target": args.target,
        "inputs": {entry.language: entry.described for entry in (*inputs.heard, *inputs.said)},
    }
    changeable = ("steps", "patience", "log_every", "cpu")
    files = [args.pairs, *input_files(inputs.said), *input_files(inputs.heard)]
    open_experiment(exp, vars(args), inputs=files, derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    copy_block_units(inputs.said, build_vocabulary(inputs.said, args.target_input), exp / "said")
    if inputs.heard:
        vocabulary = build_vocabulary(inputs.heard, args.source_input or "units")
        copy_block_units(inputs.heard, vocabulary, exp / "heard")


def describe_run(run: Run, data: Data, learner: Learner) -> None:
    if not run.rank0:
        return
    n_weights = sum(value.numel() for value in learner.model.parameters())
    minutes = sum(one.seconds[1] for one in data.training) / 60
    text = "%s: %d pairs with %.1f minutes of target to train on, %.2f M weights, %d threads"
    log.info(text, run.exp, len(data.training), minutes, n_weights / 1e6, torch.get_num_threads())


# %% tags=["active-py"]
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 8")

# %% [markdown]
# ## Step by step
#
# In a notebook these cells do what `main` does, one thing at a time. They read a table of pairs and the units of its
# languages (`bash scripts/run_phase1.sh spanish` makes them) and leave no experiment behind.

# %% tags=["active-ipynb"]
# args = parse_args("--source english --target spanish --steps 50 --width 64 --batch_size 4 --cpu".split())
# inputs, pairs = find_inputs(args), load_pairs(args)
# accelerator = start_accelerator("no", cpu=args.cpu)
# set_seed(args.seed)

# %% [markdown]
# The data: what is heard of each pair, and what is to be said.

# %% tags=["active-ipynb"]
# data = load_data(args, inputs, pairs)
# print(f"{len(data.training)} pairs to train on, {len(data.validation)} to choose by")
# data.training[0].pair, data.training[0].source.tokens[:10], data.training[0].target[:10]

# %% [markdown]
# The model, and one batch: sources, targets as the encoder hears them, and tokens.

# %% tags=["active-ipynb"]
# model = build_model(args, inputs, data)
# learner = prepare_learner(accelerator, model, lr=args.lr, weight_decay=args.weight_decay)
# batch, totals = read_batch(args, data, 0, accelerator)
# tuple(batch.source.tokens.shape), tuple(batch.tokens.shape), totals

# %% [markdown]
# One step. Run this cell as often as you like; `progress` counts the steps.

# %% tags=["active-ipynb"]
# progress = Progress(total_steps=args.steps)
# losses = train_step(args, accelerator, learner, data, progress)
# progress = progress._replace(step=progress.step + 1)
# {name: round(value.item(), 3) for name, value in losses.items()}

# %% [markdown]
# What it would say for a source, as units; after one step that is noise. A tone for each: the lower the id, the lower.

# %% tags=["active-ipynb"]
# import numpy as np
# from IPython.display import Audio
#
# from core.frames import HOP_SAMPLES, SAMPLE_RATE
# from translation.generation import translate_sound
# from unit_lm.generation import Sampling
# from unit_lm.vocabulary import decode_symbols
#
# sound = data.validation[0].source
# said = translate_sound(learner.model_ema, data.vocabulary, sound, Sampling(seed=0), sample=0, longest=50)
# units, _ = decode_symbols(data.vocabulary, args.target, said)
# tones = np.repeat(200 + units.astype(float), 4 * HOP_SAMPLES)
# Audio(np.sin(2 * np.pi * np.cumsum(tones) / SAMPLE_RATE), rate=SAMPLE_RATE)
