# %% [markdown]
# # Speaking from bare units: durations, voicing and F0
#
# Deduplicated units, as a translation model or phase 2's tokens give them, say neither how long each sound lasts nor
# how high the voice is. This trainer learns both from the corpus that the vocoder learns from, and leaves
# `checkpoints/latest.pt`, `checkpoints/best.pt` and metrics in `exp/<language>_prosody/`. It takes a minute or two.
#
# ```
# python src/trainer_prosody.py --language spanish
# python src/synthesize.py --exp exp/spanish_vocoder_v4 --prosody exp/spanish_prosody --deduplicated units.txt
# ```

# %%
import core.quiet_start

import argparse
import copy
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from accelerate.utils import set_seed

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_positive,
    require_share,
    run_main,
)
from core.commands import as_typed
from core.device import add_deterministic_flag, choose_device, choose_precision, compute_deterministically
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.frames import UNIT_RATE
from core.locks import only_run
from languages import add_language_flags, command_for, data_root, language_paths
from models.prosody_predictor import ProsodyPredictor
from models.unit_embedding import seed_table
from prosody.batches import (
    ProsodyBatch,
    ProsodyTable,
    ProsodyUtterance,
    Statistics,
    choose_counted,
    collate_prosody,
    count_crops,
    crop_utterance,
    draw_batch,
    duration_statistics,
    load_prosody_utterances,
    pitch_statistics,
)
from prosody.habits import cross_habits
from prosody.losses import add_total, prosody_losses
from prosody.warm_start import OldProsody, check_same_predictor, start_from
from training.checkpoints import load_checkpoint, restore_random_state, seed_step, update_ema
from training.experiment import noting_failed_start, open_experiment, read_derived, require_finished
from training.flags import (
    add_machine_flags,
    add_patience_flag,
    add_validation_flag,
    add_watching_flags,
    check_training_flags,
    settle_budget,
)
from training.initial_weights import NOISE, add_init_flag, choose_start, load_start
from training.loop import Work, run_loop
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
from units.kmeans import load_kmeans
from units.phase1_inputs import copy_clusters, describe_inputs, hash_units, lacks_clusters
from units.selection import Selection, add_selection_flags, check_selection, read_selection
from units.unit_table import open_table, require_units_below
from units.utterances import UtteranceTable, count_frames, known_speakers, load_utterances, named_speakers
from vocoder.saved_voice import included_prosody, load_clusters, load_voice_prosody

log = logging.getLogger("oral_units")

DEFAULT_STEPS = 150
FULL_CHANNELS = 96
OLD_SIZES = {"habits": False, "channels": 160}  # of checkpoints that do not name them

# %% [markdown]
# ## Arguments
#
# - **Crops of 150 units**: five to ten seconds, a phrase with its melody; the blocks see no further.
# - **Dropout 0.2**: the model sees 22 minutes of speech some eight times; without it the durations overfit first.
# - **150 steps**: what each unit does on average is known before the first, and how its neighbours change that is
#   learned soon. Validation picks the best.
# - **Slope weight**: an F0 track is judged by its movement too, and a track that jitters around the right value sounds
#   worse than one that glides beside it.


# %%
DESCRIPTION = """Train the prosody predictor: it gives bare units durations and pitch.

Reads phase 1's corpus_timestamped.json and the segments. Writes exp/<language>_prosody/ with the predictor
(checkpoints/) and the course of the training (metrics.jsonl).

    python src/trainer_prosody.py --language spanish

More: docs/phase3.md.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        formatter_class=HELP_FORMATTER,
    )
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_selection_flags(parser)
    add_model_flags(parser)
    add_budget_flags(parser, DEFAULT_STEPS)
    add_training_flags(parser)
    add_watching_flags(watching := parser.add_argument_group("watching"), log_every=20, eval_every=25, save_every=100)
    add_validation_flag(watching, 600.0)
    add_machine_flags(machine := parser.add_argument_group("machine"))
    add_deterministic_flag(machine)
    everyday = [
        "language",
        "tag",
        "exp",
        "resume",
        "overwrite",
        "init",
        "speaker",
        "speaker_embedding",
        "steps",
        "max_minutes",
        "cpu",
    ]
    args = parse_flags(parser, argv, everyday=everyday)
    settle_budget(args, DEFAULT_STEPS)
    args.flag_defaults["init"] = NOISE  # as runs began before there was the flag
    if args.init not in (None, NOISE) and args.random_embeddings:
        raise UserError("--random_embeddings: --init gives the units their embeddings; leave one of the two out")
    check_training_flags(args)
    require_positive(args, "channels", "crop_units", "validation_seconds")
    require_share(args, "dropout")
    return args


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument("--channels", type=int, default=None, help="width of the blocks (default: full size, 96)")
    model.add_argument("--dropout", type=float, default=0.2, help="share of channels dropped between blocks")
    add_init_flag(model, "the experiment, or the saved voice with a prosody predictor,")
    model.add_argument("--speaker_embedding", action="store_true", help="learn one prosody for each speaker")
    model.add_argument(
        "--no_habits", action="store_true", help="learn from zero, not from what each unit does on average"
    )
    model.add_argument(
        "--random_embeddings", action="store_true", help="do not start unit embeddings from the centroids"
    )


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    training.add_argument("--batch_size", "--bsize", type=int, default=8, help="crops a step")
    training.add_argument("--crop_units", type=int, default=150, help="length of a crop (deduplicated units)")
    training.add_argument("--lr", type=float, default=4e-3, help="peak learning rate of AdamW")
    training.add_argument("--warmup", type=int, default=20, help="steps of linear warm-up")
    training.add_argument("--weight_decay", "--wdecay", type=float, default=0.01, help="decoupled weight decay")
    training.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    training.add_argument("--f0_weight", type=float, default=1.0, help="weight of the F0 error; 1 for durations")
    training.add_argument("--slope_weight", type=float, default=1.0, help="weight of the error of F0's movement")
    add_patience_flag(training)
    training.add_argument("--seed", type=int, default=0, help="seed of weights, crops and dropout")


# %% [markdown]
# ## Data


# %%
class Data(NamedTuple):
    train: ProsodyTable
    counted: np.ndarray  # rows of ``train`` that averages are taken over
    crops: np.ndarray  # of an epoch: the index in ``train`` of each
    validation: list[ProsodyUtterance]
    statistics: Statistics  # of F0
    habits: np.ndarray  # (N_FOLDS + 1, n_units, H) of each unit: over all of ``train``, and outside each fold
    speakers: list[str]  # rows 1, 2, … of the speaker embedding; empty without --speaker_embedding


def load_data(args: argparse.Namespace, paths: dict[str, Path]) -> Data:
    """Utterances to learn from, and others to validate on."""
    selection = read_selection(vars(args))
    train = load_split(paths, "train", selection)
    validation = choose_validation(load_split(paths, "val", selection), args.validation_seconds)
    named = named_speakers(train.utterances)
    speakers = known_speakers(named, paths["speakers"]) if args.speaker_embedding else []
    counted = choose_counted(train)
    statistics = pitch_statistics(train[row] for row in counted)
    habits = cross_habits(train, statistics, count_units(paths), counted)
    return Data(train, counted, count_crops(train, args.crop_units), validation, statistics, habits, speakers)


def count_units(paths: dict[str, Path]) -> int:
    """How many units phase 1 has."""
    return read_derived(paths["units"], "n_units")["n_units"]


def load_split(paths: dict[str, Path], split: str, selection: Selection) -> ProsodyTable:
    """The selected utterances of one split."""
    return load_prosody_utterances(paths["corpus"], data_root(), paths["cache"], [split], selection)


def choose_validation(table: ProsodyTable, seconds: float) -> list[ProsodyUtterance]:
    """An even spread of whole utterances of about ``seconds`` in all."""
    total = int(count_frames(table.utterances).sum()) / UNIT_RATE
    return table[:: max(1, int(total / seconds))]


def read_batch(args: argparse.Namespace, data: Data, step: int, device: torch.device) -> ProsodyBatch:
    """The crops of ``step``, a function of (seed, step) alone."""
    sizes = {"batch_size": args.batch_size, "crop_units": args.crop_units, "seed": args.seed}
    habits = {"habits": data.habits}
    batch = draw_batch(data.train, data.crops, data.statistics, data.speakers, step=step, **habits, **sizes)
    return ProsodyBatch(*(tensor.to(device) for tensor in batch))


# %% [markdown]
# ## Model


# %%
class Models(NamedTuple):
    sizes: dict[str, object]  # the predictor's constructor arguments
    predictor: ProsodyPredictor
    predictor_ema: ProsodyPredictor  # the moving average of its weights, which is validated and saved
    optimizer: torch.optim.AdamW


def choose_sizes(args: argparse.Namespace, data: Data) -> dict[str, object]:
    """The predictor's constructor arguments."""
    return {"n_units": data.habits.shape[1], "n_speakers": len(data.speakers)} | chosen_sizes(args)


def chosen_sizes(args: argparse.Namespace) -> dict[str, object]:
    """Those that flags say."""
    return {
        "habits": not args.no_habits,
        "channels": args.channels or FULL_CHANNELS,
        "dropout": args.dropout,
    }


class WarmStart(NamedTuple):
    """The predictor to start from, and in which utterances its units are found."""

    old: OldProsody
    utterances: UtteranceTable


def read_warm_start(args: argparse.Namespace, paths: dict[str, Path], old: OldProsody | None) -> WarmStart | None:
    """``old`` with the recordings of the training split; their F0 is in the cache by now."""
    if old is None:
        return None
    selection = read_selection(vars(args))
    return WarmStart(old, load_utterances(paths["corpus"], data_root(), paths["cache"], ["train"], selection))


def build_models(
    args: argparse.Namespace,
    sizes: dict[str, object],
    data: Data,
    clusters: Path,
    device: torch.device,
    *,
    warm: WarmStart | None = None,
) -> Models:
    """A predictor that starts from what units do on average, and from the centroids in ``clusters``, if any.

    warm: or from another predictor's weights.
    """
    predictor = ProsodyPredictor(**sizes)
    predictor.set_durations(*duration_statistics(data.train[row] for row in data.counted))
    if sizes["habits"]:
        predictor.set_habits(torch.from_numpy(data.habits[0]))
    found = None if lacks_clusters(clusters.parent) else load_kmeans(clusters)
    if found and not args.random_embeddings:
        seed_table(predictor.unit_embedding, torch.from_numpy(found.books[0]))
    if warm:
        start_from(predictor, warm.old, warm.utterances, found)
    predictor.to(device)
    predictor_ema = copy.deepcopy(predictor).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)
    return Models(sizes, predictor, predictor_ema, optimizer)


def model_state(models: Models, data: Data) -> dict[str, object]:
    """Weights, average and optimizer, and what they mean, for a checkpoint."""
    return {
        "sizes": models.sizes,
        "speakers": data.speakers,
        "statistics": data.statistics,
        "predictor": models.predictor.state_dict(),
        "predictor_ema": models.predictor_ema.state_dict(),
        "optimizer": models.optimizer.state_dict(),
    }


def load_models(models: Models, state: dict[str, object]) -> None:
    """Continue from a checkpoint's weights, average and optimizer, and from its random state."""
    models.predictor.load_state_dict(state["predictor"])
    models.predictor_ema.load_state_dict(state["predictor_ema"])
    models.optimizer.load_state_dict(state["optimizer"])
    restore_random_state(state["random_state"])


# %% [markdown]
# ## One step, and validation
#
# Dropout is drawn from (seed, step): a resumed run draws what an uninterrupted one would have drawn.


# %%
def train_step(args: argparse.Namespace, models: Models, batch: ProsodyBatch, progress: Progress) -> Losses:
    """One update of the weights; returns its losses."""
    predictor, optimizer = models.predictor, models.optimizer
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress.step, progress.total_steps, args.lr, args.warmup)
    seed_step(args.seed, progress.step)
    predictor.train()
    device = batch.units.device
    precision = choose_precision(args.mixed_precision, cpu=args.cpu)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = predictor(batch.units, batch.durations, batch.speaker_row, batch.habits)
    losses = prosody_losses(tuple(output.float() for output in outputs), batch)
    losses = add_total(losses, f0_weight=args.f0_weight, slope_weight=args.slope_weight)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    losses["gradient_norm"] = torch.nn.utils.clip_grad_norm_(predictor.parameters(), args.clip)
    optimizer.step()
    update_ema(models.predictor_ema, predictor, progress.step)
    return {name: value.detach() for name, value in losses.items()}


@torch.inference_mode()
def validate(args: argparse.Namespace, predictor: ProsodyPredictor, data: Data) -> dict[str, float]:
    """Mean losses of the averaged weights, utterances weighted by their frames, and their weighted sum ``loss``."""
    device, sums, n_frames = next(predictor.parameters()).device, {}, 0
    for utterance in data.validation:
        whole = crop_utterance(utterance, slice(0, len(utterance.units)), data.statistics, data.habits[0])
        batch = ProsodyBatch(*(tensor.to(device) for tensor in collate_prosody([whole], data.speakers)))
        losses = prosody_losses(predictor(batch.units, batch.durations, batch.speaker_row, batch.habits), batch)
        losses = add_total(losses, f0_weight=args.f0_weight, slope_weight=args.slope_weight)
        n_frames += len(utterance.f0)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(utterance.f0)
    return {f"validation_{name}": value / n_frames for name, value in sums.items()}


# %% [markdown]
# ## The loop
#
# Every step: validate → save → (stop) → update (`training/loop.py`).


# %%
def train(
    args: argparse.Namespace, run: Run, progress: Progress, *, data: Data, models: Models
) -> tuple[Progress, bool]:
    """Train to the end or to a stop signal; returns where the training stands, and whether it was told to stop."""
    device = next(models.predictor.parameters()).device
    work = Work(
        update=lambda now: train_step(args, models, read_batch(args, data, now.step, device), now),
        validate=lambda: validate(args, models.predictor_ema, data),
        judged_by="validation_loss",
        state=lambda: model_state(models, data),
        optimizer=models.optimizer,
        shown=["train_loss"],
        prefix="train_",
    )
    return run_loop(args, run, progress, work)


# %% [markdown]
# ## From the first line to the last


# %%
def main() -> int:
    args = parse_args()
    with only_run(args.exp or language_paths(args.language, args.tag)["prosody"]):
        return train_predictor(args)


def train_predictor(args: argparse.Namespace) -> int:
    exit_on_stop_signals()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("the prosody predictor trains in one process; run it without torchrun")
    paths = language_paths(args.language, args.tag)
    exp, units_exp = args.exp or paths["prosody"], paths["units"]
    require_finished(units_exp, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    args, old, said = settle_start(args, exp)
    enter_experiment(args, exp, paths, old)
    if has_finished(exp, args.steps):
        return 0
    checkpoint = find_checkpoint(args.resume, exp)
    state = load_checkpoint(checkpoint, command=f"python src/{Path(__file__).name}") if checkpoint else None

    device = torch.device("cpu" if args.cpu else choose_device("auto"))
    compute_deterministically(args.deterministic)
    set_seed(args.seed)
    with noting_failed_start(exp):
        data = load_data(args, paths)
        if state:
            state["sizes"] = OLD_SIZES | state["sizes"]
        # What an older version has begun ends as it began.
        sizes = state["sizes"] if state and is_own(checkpoint, exp) else choose_sizes(args, data)
        warm = read_warm_start(args, paths, old)
        models = build_models(args, sizes, data, units_exp / "kmeans.npz", device, warm=warm)
        progress = Progress(
            total_steps=plan_steps(args.steps, args.epochs, n_items=len(data.crops), batch_size=args.batch_size)
        )
        if state:
            own = is_own(checkpoint, exp)
            if not own:
                described = {"sizes": models.sizes, "speakers": data.speakers}
                check_borrowed(state, checkpoint, described, progress.total_steps)
            load_models(models, state)
            keep_plan = args.max_minutes is not None
            progress = restore_progress(state, progress, own=own, keep_plan=keep_plan, device=device)
    run = start_run(exp, progress, {"precision": choose_precision(args.mixed_precision, cpu=args.cpu)})
    if state:
        note_changes(state, run.conditions)
    describe_run(run, data, models, said)
    progress, stopping = train(args, run, progress, data=data, models=models)

    if end_run(run, progress, stopping=stopping):
        return EXIT_STOPPED
    finish_run(run, progress, {"best_validation_loss": progress.best}, f"validation loss {progress.best:.3f}")
    log.info("next: %s", as_typed("python", "src/prosody_test.py", "--exp", exp))
    return 0


def settle_start(args: argparse.Namespace, exp: Path) -> tuple[argparse.Namespace, OldProsody | None, str]:
    """The flags with what --init comes to, the predictor this run starts from, and what the log says of it."""

    def load(folder: Path) -> OldProsody:
        if args.random_embeddings:
            raise UserError("--random_embeddings")
        old = load_old_prosody(folder)
        check_same_predictor(old, chosen_sizes(args))
        return old

    chosen = choose_start(args.init, exp, resume=args.resume, overwrite=args.overwrite)
    start, old, said = load_start(chosen, load)
    return argparse.Namespace(**(vars(args) | {"init": start.name})), old, said


def load_old_prosody(folder: Path) -> OldProsody:
    """The predictor of an experiment, or the one that a saved voice brings, with the clusters of its units."""
    inside = included_prosody(folder) or folder
    if not (inside / "config.json").is_file() or (inside == folder and (folder / "model.safetensors").is_file()):
        raise UserError(f"--init {folder}: expected a prosody predictor, or a saved voice that has one, found none")
    clusters = load_clusters(folder)
    if clusters is None:
        raise UserError(f"--init {folder}: its units were made elsewhere, without clusters; give another")
    return OldProsody(folder, load_voice_prosody(inside), clusters)


def enter_experiment(
    args: argparse.Namespace, exp: Path, paths: dict[str, Path], old: OldProsody | None = None
) -> None:
    """Make or re-enter the folder; phase 1's clusters are copied: they are what the predictor's units mean."""
    units_exp, corpus = paths["units"], paths["corpus"]
    table = open_table(corpus, paths["cache"])
    require_units_below(table, count_units(paths))
    taken = check_selection(table, read_selection(vars(args)), splits=paths["splits"])
    derived = describe_inputs(args.language, paths) | {"units_hash": hash_units(units_exp)}
    derived |= {"started_from": old.folder.name} if old else {}
    changeable = ("steps", "patience", "log_every", "cpu")
    open_experiment(exp, vars(args), inputs=[corpus], derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    for line in taken:
        log.info("%s", line)
    copy_clusters(units_exp, exp)


def describe_run(run: Run, data: Data, models: Models, start: str) -> None:
    minutes = int(count_frames(data.train.utterances).sum()) / UNIT_RATE / 60
    n_parameters = sum(parameter.numel() for parameter in models.predictor.parameters())
    text = "%s: %.1f minutes to train on, %.2f M parameters, %d threads"
    log.info(text, run.exp, minutes, n_parameters / 1e6, torch.get_num_threads())
    if start:
        log.info("%s: %s", run.exp, start)


# %% tags=["active-py"]
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 8")

# %% [markdown]
# ## Step by step
#
# In a notebook these cells do what `main` does, one thing at a time. They read a language's units
# (`bash scripts/run_phase1.sh spanish` makes them) and leave no experiment behind.

# %% tags=["active-ipynb"]
# args = parse_args("--language spanish --steps 50 --channels 64 --cpu".split())
# paths = language_paths(args.language, args.tag)
# device = torch.device("cpu")
# set_seed(args.seed)

# %% [markdown]
# The data: each unit of an utterance, how long it lasts (frames of 20 ms), and F0.

# %% tags=["active-ipynb"]
# data = load_data(args, paths)
# utterance = data.validation[0]
# print(len(data.train), "utterances to learn from;", data.statistics)
# list(zip(utterance.units, utterance.durations))[:10]

# %% [markdown]
# The model, and one batch.

# %% tags=["active-ipynb"]
# models = build_models(args, choose_sizes(args, data), data, paths["units"] / "kmeans.npz", device)
# batch = read_batch(args, data, 0, device)
# {name: tuple(tensor.shape) for name, tensor in batch._asdict().items()}

# %% [markdown]
# One step. Run this cell as often as you like; `progress` counts the steps.

# %% tags=["active-ipynb"]
# progress = Progress(total_steps=args.steps)
# losses = train_step(args, models, batch, progress)
# progress = progress._replace(step=progress.step + 1)
# {name: round(value.item(), 3) for name, value in losses.items()}

# %% [markdown]
# Listen to the melody that it predicts, as a tone; the unvoiced frames are silent.

# %% tags=["active-ipynb"]
# from IPython.display import Audio
#
# from core.frames import HOP_SAMPLES, SAMPLE_RATE
# from prosody.prediction import Prosody, predict_durations, predict_f0
#
# prosody = Prosody(models.predictor_ema, data.speakers, data.statistics, device)
# durations = predict_durations(prosody, utterance.units)
# f0 = np.repeat(predict_f0(prosody, utterance.units, durations), HOP_SAMPLES)
# Audio((f0 > 0) * np.sin(2 * np.pi * np.cumsum(f0) / SAMPLE_RATE), rate=SAMPLE_RATE)
