# %% [markdown]
# # Phase 3: a voice from units
#
# Reads phase 1's `corpus_timestamped.json` and the segments, trains a vocoder that speaks unit ids with their pitch,
# and leaves `checkpoints/latest.pt`, `checkpoints/best.pt`, samples and metrics in `exp/<language>_vocoder_<version>/`.
#
# ```
# python src/trainer_vocoder.py --language spanish --generator v3 --max_minutes 8
# torchrun --standalone --nproc-per-node=2 src/trainer_vocoder.py --language satere --steps 200000
# ```

# %%
import argparse
import copy
import logging
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from accelerate import Accelerator
from accelerate.utils import set_seed
from tqdm import tqdm

from audio.audio_io import load_crop, save_audio
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
from core.device import choose_precision, peak_gpu_mib, wait_for
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.files import read_json
from core.frames import SAMPLE_RATE, UNIT_RATE, frames_to_samples
from core.read_ahead import map_ahead
from languages import add_language_flags, command_for, data_root, language_paths
from models.discriminator_v3 import LONGEST_WINDOW
from training.checkpoints import (
    LARGEST_EMA_DECAY,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
    update_ema,
)
from training.experiment import cut_metrics, is_finished, mark_finished, open_experiment, require_finished
from training.processes import (
    any_process,
    average,
    broadcast,
    launched_processes,
    mean_over_processes,
    start_accelerator,
    update_weights,
)
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
from training.schedule import calibrate, is_adversarial, learning_rate, plan_steps
from units.kmeans import load_kmeans
from units.phase1_inputs import describe_inputs, fill_split_f0, keep_clusters
from units.requests import SpokenItem
from units.utterances import known_speakers, load_utterances
from vocoder.adversarial import adversarial_window, in_float32, split_judgement, time_judgement, warn_of_collapse
from vocoder.batches import CropDataset, StepSampler, check_batch_size, collate, with_mel
from vocoder.generators import DISCRIMINATORS, GENERATORS, Vocoder, build_generator, seed_embeddings
from vocoder.losses import MEL_WINDOWS, adversarial_loss, discriminator_loss, feature_matching_loss, mel_loss
from vocoder.size_flags import read_sizes
from vocoder.synthesis import speak, synthesize_utterances

log = logging.getLogger("oral_units")

CALIBRATION_STEPS = range(5, 25)  # timed to turn --max_minutes into steps; the ones before warm the caches
DEFAULT_STEPS = 200_000

# %% [markdown]
# ## Arguments
#
# - **Learning rate 1e-3, cosine to 2 %**: with a regression loss alone a small run gains more from ending at a low
#   rate than from anything else; the schedule is a function of the step and the planned number of steps.
# - **16 crops of 0.96 s**: long enough for the trunk to see words, short enough that a batch holds many sounds.
# - **Regression for 40 % of the steps, then a discriminator**: log-mel alone learns the words and sounds muffled; the
#   discriminator costs three times the step and gives the texture (DistillMOS 2.24 to 2.46 in LOG.md).
# - **Betas (0.8, 0.99)**: HiFi-GAN's; the short memory of the gradient suits a loss of many resolutions.


# %%
def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Phase 3: train a unit vocoder.", formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)

    model = parser.add_argument_group("model")
    model.add_argument("--generator", choices=sorted(GENERATORS), default="v3", help="version of the generator")
    model.add_argument(
        "--channels", type=int, default=None, help="width of the trunk (default: the version's full size)"
    )
    model.add_argument(
        "--sizes",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="further arguments of the generator's constructor, as in n_blocks=4 head_channels=128",
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
    model.add_argument("--speaker_embedding", action="store_true", help="learn one voice a speaker of the manifest")

    budget = parser.add_argument_group("budget (one of; default: --steps 200000)").add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=None, help="updates of the generator")
    budget.add_argument("--epochs", type=float, default=None, help="passes over the training split")
    budget.add_argument(
        "--max_minutes", type=float, default=None, help="wall time; becomes a number of steps after a short calibration"
    )

    training = parser.add_argument_group("training")
    training.add_argument("--batch_size", type=int, default=16, help="crops a step, over all processes")
    training.add_argument("--crop_frames", type=int, default=48, help="length of a crop (frames of 20 ms)")
    training.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of AdamW")
    training.add_argument("--warmup", type=int, default=50, help="steps of linear warm-up")
    training.add_argument("--weight_decay", type=float, default=0.01, help="decoupled weight decay")
    training.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    training.add_argument(
        "--adversarial_after",
        type=float,
        default=0.4,
        help="train against a discriminator from this share of the planned steps on, or (over 1) this step; 1 = never",
    )
    training.add_argument(
        "--discriminator_lr", type=float, default=5e-4, help="peak learning rate of the discriminator"
    )
    training.add_argument(
        "--discriminator_frames", type=int, default=24, help="what it sees of a crop (frames of 20 ms)"
    )
    training.add_argument(
        "--discriminator_width", type=int, default=None, help="channels of its widest layer (default: full size)"
    )
    training.add_argument("--mel_weight", type=float, default=15.0, help="weight of the log-mel loss beside it")
    training.add_argument("--feature_weight", type=float, default=2.0, help="weight of feature matching beside it")
    training.add_argument(
        "--patience", type=int, default=0, help="stop after so many validations without gain; 0 = never"
    )
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

    watching = parser.add_argument_group("watching")
    watching.add_argument("--log_every", type=int, default=20, help="steps between rows of metrics.jsonl")
    watching.add_argument("--eval_every", type=int, default=200, help="steps between validations")
    watching.add_argument("--validation_seconds", type=float, default=90.0, help="seconds of the val split to judge on")
    watching.add_argument("--save_every", type=int, default=200, help="steps between writings of latest.pt")
    watching.add_argument("--sample_every", type=int, default=1000, help="steps between sample recordings")
    watching.add_argument("--num_samples", type=int, default=4, help="recordings a sampling")

    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--mixed_precision",
        choices=("auto", "no", "bf16", "fp16"),
        default="auto",
        help="autocast of the models; auto: bf16 where the device computes in it, fp16 on other GPUs",
    )
    machine.add_argument("--compile", action="store_true", help="compile the generator with torch.compile")
    machine.add_argument("--num_workers", type=int, default=None, help="reading threads (default: 0 on a CPU, else 4)")
    machine.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    args = parse_flags(parser, argv)
    if args.steps is None and args.epochs is None and args.max_minutes is None:
        args.steps = DEFAULT_STEPS
    require_positive(args, "channels", "steps", "epochs", "max_minutes", "batch_size", "crop_frames")
    require_positive(args, "discriminator_frames", "discriminator_width", "log_every", "eval_every", "save_every")
    require_positive(args, "sample_every", "validation_seconds")
    require_not_negative(args, "patience", "warmup", "num_samples", "num_workers", "adversarial_after", "weight_decay")
    require_not_negative(args, "lr", "discriminator_lr", "clip")
    require_share(args, "ema", "unit_noise")
    channels = chosen_sizes(args).get("channels", 32)
    if args.generator != "v3" and channels % 32:
        raise UserError(f"--channels {channels}: expected a multiple of 32 for {args.generator}")
    seen = min(args.discriminator_frames, args.crop_frames)
    if args.generator == "v3" and args.adversarial_after != 1 and frames_to_samples(seen) < LONGEST_WINDOW:
        raise UserError(
            f"--discriminator_frames {args.discriminator_frames}, --crop_frames {args.crop_frames}: expected at least "
            f"{math.ceil(LONGEST_WINDOW / frames_to_samples(1))} for the discriminator's longest window"
        )
    if args.generator != "v3" and args.condition != "units":
        raise UserError(f"--condition {args.condition}: the oracle is v3's; {args.generator} is fed units only")
    return args


# %% [markdown]
# ## Data and models


# %%
def load_split(paths: dict[str, Path], split: str) -> list[dict]:
    """The utterances of one split, their F0 computed in parallel beforehand."""
    fill_split_f0(paths, split)
    return load_utterances(paths["corpus"], data_root(), paths["cache"], [split])


def choose_validation(utterances: list[dict], seconds: float) -> list[dict]:
    """An even spread of utterances of about ``seconds`` in all, sorted by length so that batches are dense."""
    total = sum(len(utterance["units"]) for utterance in utterances) / UNIT_RATE
    stride = max(1, int(total / seconds))
    return sorted(utterances[::stride], key=lambda utterance: (len(utterance["units"]), utterance["id"]))


def chosen_sizes(args: argparse.Namespace) -> dict:
    """What --channels and --sizes say, checked against the generator's constructor."""
    sizes = read_sizes(GENERATORS[args.generator], args.sizes)
    if args.channels and "channels" in sizes:
        raise UserError("--channels and --sizes channels=… say the same; give one")
    return sizes | ({"channels": args.channels} if args.channels else {})


def build_sizes(args: argparse.Namespace, units_config: dict, speakers: list[str]) -> dict:
    """The generator's constructor arguments, stored in the checkpoint."""
    derived = units_config["derived"]
    sizes = {"n_units": derived["n_units"], "n_streams": derived["n_streams"], "n_speakers": len(speakers)}
    condition = {"condition": args.condition} if args.condition != "units" else {}
    return sizes | condition | chosen_sizes(args)


def batches(
    args: argparse.Namespace, dataset: CropDataset, accelerator: Accelerator, first: int, last: int
) -> Iterator[dict]:
    """The batches of steps ``first`` to ``last`` for this process, on its device."""
    sampler = StepSampler(first, last, args.batch_size, rank=accelerator.process_index, world=accelerator.num_processes)
    on_gpu = accelerator.device.type == "cuda"
    workers = args.num_workers if args.num_workers is not None else 4 * on_gpu
    if workers:
        # Threads: a scheduler's signal goes to all processes of a job, and loader processes would die of it.
        items = (read for _, read in map_ahead(dataset.__getitem__, enumerate(sampler), workers))
    else:
        items = ([dataset[number] for number in numbers] for numbers in sampler)
    for batch in map(collate, items):
        pinned = {key: value.pin_memory() for key, value in batch.items()} if on_gpu else batch
        yield {key: value.to(accelerator.device, non_blocking=True) for key, value in pinned.items()}


# %% [markdown]
# ## Steps, validation, samples


# %%
def spoken_item(utterance: dict) -> SpokenItem:
    return SpokenItem(utterance["id"], utterance["units"], utterance["f0"], utterance["speaker"])


@torch.inference_mode()
def validate(vocoder: Vocoder, utterances: list[dict]) -> float:
    """Mean log-mel distance (nats) of the averaged weights over the validation frames."""
    total, n_samples = 0.0, 0
    for utterance, (_, waveform) in zip(utterances, synthesize_utterances(vocoder, map(spoken_item, utterances))):
        original = load_crop(utterance["audio"], 0, len(waveform))
        distance = mel_loss(torch.from_numpy(waveform)[None], torch.from_numpy(original)[None]).item()
        total, n_samples = total + distance * len(waveform), n_samples + len(waveform)
    return total / n_samples


def write_samples(folder: Path, vocoder: Vocoder, utterances: list[dict], step: int) -> None:
    for name, waveform in synthesize_utterances(vocoder, map(spoken_item, utterances)):
        save_audio(folder / f"step_{step:07d}" / f"{name}.wav", waveform)
    for utterance in utterances:
        original = load_crop(utterance["audio"], 0, frames_to_samples(len(utterance["units"])))
        save_audio(folder / "original" / f"{utterance['id']}.wav", original)


# %% [markdown]
# ## The loop
#
# Every step: validate → sample → save → (stop) → update. A checkpoint holds everything that the next step depends on.


# %%
def main() -> int:
    args = parse_args()
    check_batch_size(args.batch_size, launched_processes())
    exit_on_stop_signals()
    paths = language_paths(args.language, args.tag, args.generator)
    exp = args.exp or paths["vocoder"]
    phase1 = command_for("run_phase1.sh", args.language, args.tag)
    require_finished(paths["units"], phase="phase 1", command=phase1)
    precision = choose_precision(args.mixed_precision, cpu=args.cpu, fp16=True)
    accelerator = start_accelerator(precision, cpu=args.cpu)
    rank0 = accelerator.is_main_process
    units_config = read_json(paths["units"] / "config.json")

    if rank0:
        enter_experiment(args, exp, paths, units_config)
    accelerator.wait_for_everyone()
    if is_finished(exp) and (args.steps is None or args.steps <= read_json(exp / "finished.json")["step"]):
        log.info("%s: already finished with this configuration; nothing to do", exp)
        return 0
    resume_from = find_checkpoint(args.resume, exp)
    state = load_checkpoint(resume_from, command="bash scripts/run_phase3.sh <language>") if resume_from else None

    set_seed(args.seed)
    with accelerator.main_process_first():
        train, validation = load_split(paths, "train"), load_split(paths, "val")
    speakers = known_speakers(train, paths["speakers"]) if args.speaker_embedding else []
    dataset = CropDataset(
        train,
        crop_frames=args.crop_frames,
        seed=args.seed,
        speakers=speakers,
        condition=args.condition,
        unit_noise=args.unit_noise,
        n_units=units_config["derived"]["n_units"],
    )
    validation = choose_validation(validation, args.validation_seconds)
    if args.condition == "logmel":
        validation = [with_mel(utterance) for utterance in validation]
    sampled = validation[:: max(1, len(validation) // max(1, args.num_samples))][: args.num_samples]

    sizes = build_sizes(args, units_config, speakers)
    generator = build_generator(args.generator, sizes)
    if not args.random_embeddings:
        seed_embeddings(generator, load_kmeans(exp / "units" / "kmeans.npz").books)
    generator_ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    averaged = Vocoder(generator_ema, speakers, accelerator.device)
    optimizer_generator = torch.optim.AdamW(
        generator.parameters(), lr=args.lr, betas=(0.8, 0.99), weight_decay=args.weight_decay
    )
    optimizers, discriminator = [(optimizer_generator, args.lr)], None
    if args.adversarial_after != 1:
        width = {"width": args.discriminator_width} if args.discriminator_width else {}
        discriminator = DISCRIMINATORS[args.generator](**width)
        optimizer_discriminator = torch.optim.AdamW(
            discriminator.parameters(), lr=args.discriminator_lr, betas=(0.8, 0.99), weight_decay=args.weight_decay
        )
        optimizers.append((optimizer_discriminator, args.discriminator_lr))
    step, total_steps, best, stale, spent = 0, plan_steps(args, len(dataset)), math.inf, 0, 0.0
    validated, since_log = 0, []
    if state:
        step = state["step"]
        if is_own(resume_from, exp):
            best, stale, spent = state["best"], state["stale"], state["seconds"]
            total_steps = state["total_steps"] if args.max_minutes else total_steps
        else:
            described = {"version": args.generator, "sizes": sizes, "speakers": speakers}
            check_borrowed(state, resume_from, described, total_steps)
        generator.load_state_dict(state["generator"])
        generator_ema.load_state_dict(state["generator_ema"])
        validated = state.get("validated", step)
        since_log = [
            {name: value.to(accelerator.device) for name, value in row.items()} for row in state.get("since_log", [])
        ]
    generator_raw, discriminator_raw = generator, discriminator
    generator, optimizer_generator = accelerator.prepare(generator, optimizer_generator)
    if discriminator is not None:
        discriminator, optimizer_discriminator = accelerator.prepare(discriminator, optimizer_discriminator)
    carried_out = {"threads": torch.get_num_threads(), "precision": precision, "processes": accelerator.num_processes}
    if state:
        optimizer_generator.load_state_dict(state["optimizer_generator"])
        if discriminator is not None and "discriminator" in state:
            discriminator_raw.load_state_dict(state["discriminator"])
            optimizer_discriminator.load_state_dict(state["optimizer_discriminator"])
        if accelerator.scaler and state.get("scaler"):
            accelerator.scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random_state"])
        if rank0:
            note_changes(state, carried_out)
    if rank0:
        cut_metrics(exp, step)
        (exp / "finished.json").unlink(missing_ok=True)  # a lengthened run is not finished until it is
    speaking = torch.compile(generator) if args.compile else generator
    on_gpu = accelerator.device.type == "cuda"

    def checkpoint() -> dict:
        return {
            "version": args.generator,
            "sizes": sizes,
            "speakers": speakers,
            "step": step,
            "total_steps": total_steps,
            "best": best,
            "stale": stale,
            "validated": validated,
            "since_log": since_log,
            "seconds": spent + time.monotonic() - started,
            "threads": torch.get_num_threads(),
            "processes": accelerator.num_processes,
            "precision": precision,
            "generator": generator_raw.state_dict(),
            "generator_ema": generator_ema.state_dict(),
            "optimizer_generator": optimizer_generator.state_dict(),
            "random_state": random_state(),
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
        } | (
            {}
            if discriminator is None
            else {
                "discriminator": discriminator_raw.state_dict(),
                "optimizer_discriminator": optimizer_discriminator.state_dict(),
            }
        )

    stop_signal = catch_stop_signals()

    writer = SummaryWriter(exp / "tensorboard", purge_step=step) if rank0 else None
    hours = sum(len(u["units"]) for u in train) / UNIT_RATE / 3600
    n_parameters = sum(parameter.numel() for parameter in generator_raw.parameters())
    log.info(
        "%s: %.2f h to train on, %.1f M parameters, %d threads", exp, hours, n_parameters / 1e6, torch.get_num_threads()
    )
    started, step_seconds, evaluation_seconds = time.monotonic(), [], 0.0
    first_step = step
    progress = tqdm(total=total_steps, initial=step, unit="step", desc=exp.name, disable=None if rank0 else True)
    source = batches(args, dataset, accelerator, step, total_steps or 10**9)

    while True:
        last = total_steps is not None and step >= total_steps
        stopping = bool(stop_signal)

        # A stopped run is not kept waiting: it validates when it is resumed.
        if rank0 and (last or (step % args.eval_every == 0 and not stopping)) and step > validated:
            clock = time.monotonic()
            distance = validate(averaged, validation)
            evaluation_seconds, validated = time.monotonic() - clock, step
            stale = 0 if distance < best else stale + 1
            log_row(exp, writer, step, spent + time.monotonic() - started, {"validation_mel_nat": distance})
            if distance < best:
                best = distance
                save_checkpoint(exp / "checkpoints" / "best.pt", checkpoint())
        if rank0 and sampled and step > first_step and (last or step % args.sample_every == 0):
            write_samples(exp / "samples", averaged, sampled, step)
        gives_up = bool(args.patience) and any_process(accelerator, stale >= args.patience)
        stopping = any_process(accelerator, stopping)
        if rank0 and step > first_step and (last or stopping or gives_up or step % args.save_every == 0):
            finite_means(exp, Progress(step=step, since_log=since_log))
            save_checkpoint(exp / "checkpoints" / "latest.pt", checkpoint())
        if last or gives_up or stopping:
            break

        clock = time.monotonic()
        adversarial = is_adversarial(step, total_steps, args.adversarial_after)
        if adversarial and not is_adversarial(step - 1, total_steps, args.adversarial_after):
            # Regression alone is nearer in log-mel and sounds duller: the best is one of the adversarial checkpoints.
            best, stale = math.inf, 0
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, total_steps, peak, args.warmup)
        batch = next(source)
        generator.train()
        with accelerator.autocast():
            resynthesis = speak(speaking, batch["units"], batch["f0"], batch["speaker"], batch["key"]).float()
        losses = {}

        if adversarial:
            window = adversarial_window(args, step)
            with accelerator.autocast():
                judged = torch.cat([batch["audio"][:, window], resynthesis.detach()[:, window]])
                of_originals, of_resyntheses = split_judgement(discriminator(judged))
            loss_discriminator = discriminator_loss(of_originals, of_resyntheses)
            update_weights(
                accelerator, discriminator.parameters(), optimizer_discriminator, loss_discriminator, args.clip
            )
            losses["discriminator_loss"] = loss_discriminator

        loss_generator_mel = mel_loss(resynthesis, batch["audio"], {n: MEL_WINDOWS[n] for n in args.mel_windows})
        loss_generator = loss_generator_mel
        if adversarial:
            discriminator_raw.requires_grad_(False)
            with accelerator.autocast():
                with torch.no_grad():
                    of_originals = in_float32(discriminator_raw(batch["audio"][:, window]))
                of_resyntheses = in_float32(discriminator_raw(resynthesis[:, window]))
            discriminator_raw.requires_grad_(True)
            loss_generator_adversarial = adversarial_loss(of_resyntheses)
            loss_generator_features = feature_matching_loss(of_originals, of_resyntheses, partial(average, accelerator))
            loss_generator = (
                loss_generator_adversarial
                + args.feature_weight * loss_generator_features
                + args.mel_weight * loss_generator_mel
            )
            losses |= {"adversarial_loss": loss_generator_adversarial, "feature_loss": loss_generator_features}
        gradient_norm = update_weights(
            accelerator, generator.parameters(), optimizer_generator, loss_generator, args.clip
        )
        update_ema(generator_ema, generator_raw, step, args.ema)

        step += 1
        losses |= {"train_mel_nat": loss_generator_mel} | gradient_norm
        since_log.append(mean_over_processes(accelerator, losses))
        logging_now = step % args.log_every == 0 or (total_steps is not None and step >= total_steps)
        if logging_now or total_steps is None:
            wait_for(accelerator.device)
        step_seconds.append(time.monotonic() - clock)
        progress.update()
        if logging_now:
            means = finite_means(exp, Progress(step=step, since_log=since_log))
            if rank0:
                seconds = (
                    args.batch_size * args.crop_frames / UNIT_RATE / float(np.median(step_seconds[-len(since_log) :]))
                )
                extra = {
                    "learning_rate": optimizer_generator.param_groups[0]["lr"],
                    "audio_seconds_per_second": seconds,
                } | ({"gpu_peak_mib": peak_gpu_mib()} if on_gpu else {})
                log_row(exp, writer, step, spent + time.monotonic() - started, means | extra)
                warn_of_collapse(step, since_log)
                progress.set_postfix(mel=f"{means['train_mel_nat']:.3f}", best=f"{best:.3f}")
            since_log = []
        if total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            if rank0:
                clock = time.monotonic()
                validate(averaged, validation)
                evaluation_seconds = time.monotonic() - clock
            judgement_seconds = 0.0
            if discriminator is not None and not adversarial:  # else it is in the steps timed already
                originals = batch["audio"][:, adversarial_window(args, step)]
                judgement_seconds = time_judgement(discriminator_raw, originals, accelerator.autocast)
            more = calibrate(
                60 * args.max_minutes - spent - (time.monotonic() - started),
                step_seconds[CALIBRATION_STEPS.start :],
                evaluation_seconds,
                args.eval_every,
                step=step,
                judgement_seconds=judgement_seconds,
                adversarial_after=args.adversarial_after,
            )
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
        mark_finished(exp, {"step": step, "best_validation_mel_nat": best, "seconds": round(seconds, 1)})
        log.info(
            "wrote %s: %d steps in %.1f minutes, best validation log-mel distance %.3f nats\nnext: %s",
            exp,
            step,
            seconds / 60,
            best,
            f"python src/vocoder_test.py --exp {exp}",
        )
    return 0


# %% [markdown]
# ## The experiment folder, resuming, processes


# %%
def enter_experiment(args: argparse.Namespace, exp: Path, paths: dict[str, Path], units_config: dict) -> None:
    """Make or re-enter the folder; keep phase 1's clusters beside the vocoder so that it can speak recordings alone."""
    derived = describe_inputs(args.language, paths) | {
        "generator": args.generator,
        "condition": args.condition,
        "sample_rate_hz": SAMPLE_RATE,
        "encoder": units_config["derived"]["encoder"],
        "layer": units_config["derived"]["layer"],
    }
    # A run may be lengthened, and watched or carried out differently; --max_minutes and --epochs are its identity.
    changeable = ("steps", "patience", "log_every", "sample_every", "num_samples", "cpu", "compile")
    open_experiment(exp, vars(args), inputs=[paths["corpus"]], derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    keep_clusters(paths, exp)


# %%
if __name__ == "__main__":
    run_main(main, less_memory="--overwrite --batch_size 8")
