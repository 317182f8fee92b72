# %% [markdown]
# # Speaking from bare units: durations, voicing and F0
#
# Deduplicated units, as a translation model or phase 2's tokens give them, say neither how long each sound lasts nor
# how high the voice is. This trainer learns both from the corpus that the vocoder learns from, and leaves
# `checkpoints/latest.pt`, `checkpoints/best.pt` and metrics in `exp/<language>_prosody/`. It takes a minute or two.
#
# ```
# python src/trainer_prosody.py --language spanish
# python src/synthesize.py --exp exp/spanish_vocoder_v3 --prosody exp/spanish_prosody --deduplicated units.txt
# ```

# %%
import argparse
import copy
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from accelerate.utils import set_seed
from tqdm import tqdm

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_not_negative,
    require_positive,
    require_share,
    run_main,
)
from core.device import choose_precision
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.files import hash_files, read_json
from core.frames import UNIT_RATE
from languages import add_language_flags, command_for, data_root, language_paths
from models.prosody_predictor import ProsodyPredictor
from prosody.batches import (
    collate_prosody,
    count_crops,
    crop_item,
    draw_batch,
    duration_statistics,
    load_prosody_utterances,
    pitch_statistics,
    prosody_losses,
)
from training.checkpoints import load_checkpoint, random_state, restore_random_state, save_checkpoint, update_ema
from training.experiment import cut_metrics, is_finished, mark_finished, open_experiment, require_finished
from training.progress import Progress, finite_means
from training.resuming import (
    catch_stop_signals,
    check_borrowed,
    exit_on_stop_signals,
    find_checkpoint,
    is_own,
    log_row,
    note_changes,
)
from training.schedule import calibrate, learning_rate, plan_steps
from units.phase1_inputs import copy_clusters, describe_inputs, fill_split_f0
from units.utterances import known_speakers

log = logging.getLogger("oral_units")

CALIBRATION_STEPS = range(5, 25)  # timed to turn --max_minutes into steps; the ones before warm the caches
DEFAULT_STEPS = 250

# %% [markdown]
# ## Arguments
#
# - **Crops of 200 units**: five to ten seconds, a phrase with its melody; the blocks see no further.
# - **Dropout 0.2**: the model sees 22 minutes of speech some forty times; without it the durations overfit first.
# - **Slope weight**: an F0 track is judged by its movement too, and a track that jitters around the right value sounds
#   worse than one that glides beside it.


# %%
def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train the prosody predictor: durations, voicing and F0 from bare units.",
        formatter_class=HELP_FORMATTER,
    )
    add_language_flags(parser)
    add_experiment_flags(parser)

    model = parser.add_argument_group("model")
    model.add_argument("--channels", type=int, default=None, help="width of the blocks (default: full size)")
    model.add_argument("--dropout", type=float, default=0.2, help="share of channels dropped between blocks")
    model.add_argument("--speaker_embedding", action="store_true", help="learn one prosody a speaker of the manifest")

    budget = parser.add_argument_group(f"budget (one of; default: --steps {DEFAULT_STEPS})")
    budget = budget.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=None, help="updates of the weights")
    budget.add_argument("--epochs", type=float, default=None, help="passes over the training split")
    budget.add_argument(
        "--max_minutes", type=float, default=None, help="wall time; becomes a number of steps after a short calibration"
    )

    training = parser.add_argument_group("training")
    training.add_argument("--batch_size", type=int, default=16, help="crops a step")
    training.add_argument("--crop_units", type=int, default=200, help="length of a crop (deduplicated units)")
    training.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of AdamW")
    training.add_argument("--warmup", type=int, default=20, help="steps of linear warm-up")
    training.add_argument("--weight_decay", type=float, default=0.01, help="decoupled weight decay")
    training.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    training.add_argument("--f0_weight", type=float, default=1.0, help="weight of the F0 error beside durations")
    training.add_argument("--slope_weight", type=float, default=1.0, help="weight of the error of F0's movement")
    training.add_argument(
        "--patience", type=int, default=0, help="stop after so many validations without gain; 0 = never"
    )
    training.add_argument("--seed", type=int, default=0, help="seed of weights, crops and dropout")

    watching = parser.add_argument_group("watching")
    watching.add_argument("--log_every", type=int, default=20, help="steps between rows of metrics.jsonl")
    watching.add_argument("--eval_every", type=int, default=50, help="steps between validations")
    watching.add_argument(
        "--validation_seconds", type=float, default=600.0, help="seconds of the val split to judge on"
    )
    watching.add_argument("--save_every", type=int, default=100, help="steps between writings of latest.pt")

    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--mixed_precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="autocast while training; auto: bf16 where the device computes in it",
    )
    machine.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    args = parse_flags(parser, argv)
    if args.steps is None and args.epochs is None and args.max_minutes is None:
        args.steps = DEFAULT_STEPS
    require_positive(args, "channels", "steps", "epochs", "max_minutes", "batch_size", "crop_units")
    require_positive(args, "log_every", "eval_every", "save_every", "validation_seconds")
    require_not_negative(args, "patience", "warmup", "weight_decay", "lr", "clip")
    require_share(args, "dropout")
    return args


# %% [markdown]
# ## Data


# %%
def load_split(paths: dict[str, Path], split: str) -> list[dict]:
    """The utterances of one split, their F0 computed in parallel beforehand."""
    fill_split_f0(paths["corpus"], paths["cache"], split)
    return load_prosody_utterances(paths["corpus"], data_root(), paths["cache"], [split])


def choose_validation(utterances: list[dict], seconds: float) -> list[dict]:
    """An even spread of whole utterances of about ``seconds`` in all."""
    total = sum(len(utterance["f0"]) for utterance in utterances) / UNIT_RATE
    return utterances[:: max(1, int(total / seconds))]


# %% [markdown]
# ## One step, and validation
#
# Dropout is drawn from (seed, step): a resumed run draws what an uninterrupted one would have drawn.


# %%
def total_loss(args: argparse.Namespace, losses: dict[str, torch.Tensor]) -> torch.Tensor:
    f0 = losses["f0_variance"] + args.slope_weight * losses["f0_slope_variance"]
    return losses["duration_nat"] + losses["voicing_nat"] + args.f0_weight * f0


def seed_dropout(seed: int, step: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))


@torch.inference_mode()
def validate(
    args: argparse.Namespace,
    predictor: ProsodyPredictor,
    utterances: list[dict],
    statistics: dict[str, list[float]],
    speakers: Sequence[str],
) -> dict[str, float]:
    """Mean losses of the averaged weights, utterances weighted by their frames, and their weighted sum ``loss``."""
    device, sums, n_frames = next(predictor.parameters()).device, {}, 0
    for utterance in utterances:
        items = [crop_item(utterance, slice(0, len(utterance["units"])), statistics)]
        batch = {key: value.to(device) for key, value in collate_prosody(items, speakers).items()}
        losses = prosody_losses(predictor(batch["units"], batch["durations"], batch["speaker"]), batch)
        losses["loss"] = total_loss(args, losses)
        n_frames += len(utterance["f0"])
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(utterance["f0"])
    return {f"validation_{name}": value / n_frames for name, value in sums.items()}


# %% [markdown]
# ## The loop
#
# Every step: validate → save → (stop) → update, as in the vocoder's trainer.


# %%
def main() -> int:
    args = parse_args()
    exit_on_stop_signals()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("the prosody predictor trains in one process; run it without torchrun")
    paths = language_paths(args.language, args.tag)
    exp = args.exp or paths["prosody"]
    require_finished(paths["units"], phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    enter_experiment(args, exp, paths)
    if is_finished(exp) and (args.steps is None or args.steps <= read_json(exp / "finished.json")["step"]):
        log.info("%s: already finished with this configuration; nothing to do", exp)
        return 0
    resume_from = find_checkpoint(args.resume, exp)
    state = (
        load_checkpoint(resume_from, command="python src/trainer_prosody.py --language <language>")
        if resume_from
        else None
    )

    device = torch.device("cuda" if torch.cuda.is_available() and not args.cpu else "cpu")
    precision = choose_precision(args.mixed_precision, cpu=args.cpu)
    set_seed(args.seed)
    train = load_split(paths, "train")
    validation = choose_validation(load_split(paths, "val"), args.validation_seconds)
    statistics = pitch_statistics(train)
    speakers = (
        known_speakers((utterance["speaker"] for utterance in train), paths["speakers"])
        if args.speaker_embedding
        else []
    )
    crops = count_crops(train, args.crop_units)

    n_units = read_json(paths["units"] / "config.json")["derived"]["n_units"]
    sizes = {"n_units": n_units, "n_speakers": len(speakers), "dropout": args.dropout}
    sizes |= {"channels": args.channels} if args.channels else {}
    predictor = ProsodyPredictor(**sizes)
    predictor.set_durations(*duration_statistics(train))
    predictor.to(device)
    predictor_ema = copy.deepcopy(predictor).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)
    step, total_steps, best, stale, spent = (
        0,
        plan_steps(args.steps, args.epochs, n_items=len(crops), batch_size=args.batch_size),
        math.inf,
        0,
        0.0,
    )
    validated, since_log = 0, []
    if state:
        step, validated = state["step"], state["validated"]
        if is_own(resume_from, exp):
            best, stale, spent = state["best"], state["stale"], state["seconds"]
            total_steps = state["total_steps"] if args.max_minutes else total_steps
        else:
            check_borrowed(state, resume_from, {"sizes": sizes, "speakers": speakers}, total_steps)
        predictor.load_state_dict(state["predictor"])
        predictor_ema.load_state_dict(state["predictor_ema"])
        optimizer.load_state_dict(state["optimizer"])
        since_log = [{name: value.to(device) for name, value in row.items()} for row in state["since_log"]]
        restore_random_state(state["random_state"])
        note_changes(state, {"threads": torch.get_num_threads(), "precision": precision})
    cut_metrics(exp, step)
    (exp / "finished.json").unlink(missing_ok=True)  # a lengthened run is not finished until it is

    def checkpoint() -> dict:
        return {
            "sizes": sizes,
            "speakers": speakers,
            "statistics": statistics,
            "step": step,
            "total_steps": total_steps,
            "best": best,
            "stale": stale,
            "validated": validated,
            "since_log": since_log,
            "seconds": spent + time.monotonic() - started,
            "threads": torch.get_num_threads(),
            "precision": precision,
            "predictor": predictor.state_dict(),
            "predictor_ema": predictor_ema.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random_state": random_state(),
        }

    stop_signal = catch_stop_signals()
    writer = SummaryWriter(exp / "tensorboard", purge_step=step)
    minutes = sum(len(u["f0"]) for u in train) / UNIT_RATE / 60
    n_parameters = sum(parameter.numel() for parameter in predictor.parameters())
    log.info(
        "%s: %.1f minutes to train on, %.2f M parameters, %d threads",
        exp,
        minutes,
        n_parameters / 1e6,
        torch.get_num_threads(),
    )
    started, step_seconds, evaluation_seconds = time.monotonic(), [], 0.0
    first_step = step
    progress = tqdm(total=total_steps, initial=step, unit="step", desc=exp.name, disable=None)

    while True:
        last = total_steps is not None and step >= total_steps
        stopping = bool(stop_signal)

        # A stopped run is not kept waiting: it validates when it is resumed.
        if (last or (step % args.eval_every == 0 and not stopping)) and step > validated:
            clock = time.monotonic()
            distances = validate(args, predictor_ema, validation, statistics, speakers)
            evaluation_seconds, validated = time.monotonic() - clock, step
            log_row(exp, writer, step, spent + time.monotonic() - started, distances)
            improved = distances["validation_loss"] < best
            stale = 0 if improved else stale + 1
            if improved:
                best = distances["validation_loss"]
                save_checkpoint(exp / "checkpoints" / "best.pt", checkpoint())
        gives_up = bool(args.patience) and stale >= args.patience
        if step > first_step and (last or stopping or gives_up or step % args.save_every == 0):
            finite_means(exp, Progress(step=step, since_log=since_log))
            save_checkpoint(exp / "checkpoints" / "latest.pt", checkpoint())
        if last or gives_up or stopping:
            break

        clock = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total_steps, args.lr, args.warmup)
        batch = draw_batch(
            train,
            crops,
            statistics,
            speakers,
            step=step,
            batch_size=args.batch_size,
            crop_units=args.crop_units,
            seed=args.seed,
        )
        batch = {key: value.to(device) for key, value in batch.items()}
        seed_dropout(args.seed, step)
        predictor.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = predictor(batch["units"], batch["durations"], batch["speaker"])
        losses = prosody_losses(tuple(output.float() for output in outputs), batch)
        losses["loss"] = total_loss(args, losses)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        gradient_norm = torch.nn.utils.clip_grad_norm_(predictor.parameters(), args.clip)
        optimizer.step()
        update_ema(predictor_ema, predictor, step)

        step += 1
        since_log.append({name: value.detach() for name, value in (losses | {"gradient_norm": gradient_norm}).items()})
        step_seconds.append(time.monotonic() - clock)
        progress.update()
        if step % args.log_every == 0 or (total_steps is not None and step >= total_steps):
            means = {
                f"train_{name}": value
                for name, value in finite_means(exp, Progress(step=step, since_log=since_log)).items()
            }
            rate = {"learning_rate": optimizer.param_groups[0]["lr"]}
            log_row(exp, writer, step, spent + time.monotonic() - started, means | rate)
            progress.set_postfix(loss=f"{means['train_loss']:.3f}", best=f"{best:.3f}")
            since_log = []
        if total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            clock = time.monotonic()
            validate(args, predictor_ema, validation, statistics, speakers)
            evaluation_seconds = time.monotonic() - clock
            left = 60 * args.max_minutes - spent - (time.monotonic() - started)
            timed = step_seconds[CALIBRATION_STEPS.start :]
            total_steps = step + calibrate(left, timed, evaluation_seconds, args.eval_every)
            log.info("%.1f minutes stand for %d steps", args.max_minutes, total_steps)
            progress.total = total_steps

    progress.close()
    writer.close()
    if stopping and not last:
        log.info("%s: stopped by signal %s at step %d, saved; --resume continues", exp, stop_signal, step)
        return EXIT_STOPPED
    seconds = spent + time.monotonic() - started
    mark_finished(exp, {"step": step, "best_validation_loss": best, "seconds": round(seconds, 1)})
    log.info("wrote %s: %d steps in %.1f minutes, best validation loss %.3f", exp, step, seconds / 60, best)
    log.info("next: python src/prosody_test.py --exp %s", exp)
    return 0


# %% [markdown]
# ## The experiment folder


# %%
def enter_experiment(args: argparse.Namespace, exp: Path, paths: dict[str, Path]) -> None:
    """Make or re-enter the folder; keep phase 1's clusters beside the predictor, which are what its units mean."""
    derived = describe_inputs(args.language, paths) | {"units_hash": hash_files([paths["units"] / "kmeans.npz"])}
    changeable = ("steps", "patience", "log_every", "cpu")
    open_experiment(exp, vars(args), inputs=[paths["corpus"]], derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    copy_clusters(paths["units"], exp)


# %%
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 8")
