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
import core.quiet_start

import argparse
import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from accelerate import Accelerator
from accelerate.utils import set_seed

from audio.audio_io import load_crop, save_audio
from core.cli import HELP_FORMATTER, add_experiment_flags, configure_log, parse_flags, run_main, says_next
from core.commands import as_typed
from core.device import (
    choose_precision,
    compute_deterministically,
    peak_gpu_mib,
    wait_for,
)
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.files import read_json
from core.frames import SAMPLE_RATE, UNIT_RATE, frames_to_samples
from core.locks import only_run
from core.read_ahead import map_ahead
from encoders.speaker_vectors import SPEAKER_ENCODER, require_speaker_encoder
from languages import add_language_flags, command_for, data_root, language_paths
from training.checkpoints import load_checkpoint, update_ema
from training.experiment import noting_failed_start, open_experiment, read_arguments, read_derived, require_finished
from training.flags import add_validation_flag, add_watching_flags, settle_budget
from training.initial_weights import BASE_VOICE, BASE_VOICES, NOISE, Start, choose_start, load_start
from training.processes import any_process, broadcast, launched_processes, mean_over_processes, start_accelerator
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
    note_plan,
    note_step,
    save_progress,
    start_run,
    training_seconds,
    write_losses,
    write_row,
)
from training.schedule import (
    add_budget_flags,
    adversarial_start,
    calibrate,
    is_adversarial,
    learning_rate,
    plan_steps,
)
from training.training_state import Losses, Progress, has_stalled, is_due, is_last, note_validation, restore_progress
from units.kmeans import load_kmeans
from units.phase1_inputs import copy_clusters, describe_inputs, lacks_clusters
from units.requests import SpokenItem
from units.selection import Selection, add_selection_flags, check_selection, read_selection
from units.unit_table import open_table, require_units_below
from units.utterances import (
    LoadedUtterance,
    UtteranceTable,
    count_frames,
    known_speakers,
    load_utterances,
    named_speakers,
)
from vocoder.adversarial_setup import (
    adversarial_window,
    judged_crops,
    warn_of_collapse,
)
from vocoder.batches import CropBatch, CropDataset, StepSampler, check_batch_size, collate, move_batch, read_content
from vocoder.generators import DISCRIMINATORS, Vocoder, build_generator, seed_embeddings
from vocoder.heard_features import DEAF, hearing_loss, open_hearing
from vocoder.judgement_time import time_judgement
from vocoder.losses import MEL_WINDOWS, mel_loss
from vocoder.recorded_step import Recorder, open_recorder, take_step
from vocoder.speaker_means import VectorOf, speaker_means, utterance_vectors
from vocoder.synthesis import speak, synthesize_utterances
from vocoder.train_step import (
    discriminator_step,
    generator_step,
    prepare_training,
    set_learning_rate,
)
from vocoder.trained_models import (
    Models,
    averaged_voice,
    choose_sizes,
    describe_models,
    load_models,
    model_state,
)
from vocoder.training_flags import (
    CROPS_ON_CPU,
    CROPS_ON_GPU,
    FROM_NOISE,
    FROM_WEIGHTS,
    WITH_DISCRIMINATOR,
    add_adversarial_flags,
    add_machine_flags,
    add_model_flags,
    add_sample_flags,
    add_training_flags,
    check_args,
    choose_condition,
    chosen_sizes,
)
from vocoder.warm_start import (
    OldVoice,
    check_same_model,
    describe_old,
    hear_speakers,
    load_old_voice,
    start_discriminator,
    start_from,
)

log = logging.getLogger("oral_units")

CALIBRATION_STEPS = range(5, 25)  # timed to turn --max_minutes into steps; the ones before warm the caches
DEFAULT_STEPS = 200_000
LEAST_HEARD_STEPS, LEAST_HEARD_MINUTES = 300, 3  # what a recogniser that hears the voice is worth its time for
ENDLESS = 10**9  # steps, while their number is not known

# %% [markdown]
# ## Arguments
#
# - **Learning rate 1e-3, cosine to 2 %**: with a regression loss alone a small run gains more from ending at a low
#   rate than from anything else; the schedule is a function of the step and the planned number of steps.
# - **16 crops of 0.96 s**: long enough for the trunk to see words, short enough that a batch holds many sounds.
# - **Regression for 40 % of the steps and at least 1200, then a discriminator**: log-mel alone learns the words and
#   sounds muffled; the discriminator costs three times the step and gives the texture. Before regression has done its
#   part it costs words (docs/results/ablations.md).
# - **Betas (0.8, 0.99)**: HiFi-GAN's; the short memory of the gradient suits a loss of many resolutions.


# %%
DESCRIPTION = """Phase 3: train a voice that speaks units with their pitch.

Reads phase 1's corpus_timestamped.json and the segments. Writes exp/<language>_vocoder_v4/ with the voice
(checkpoints/), samples to listen to (samples/) and the course of the training (metrics.jsonl).

    python src/trainer_vocoder.py --language spanish --max_minutes 8

More: docs/phase3.md.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_selection_flags(parser)
    add_model_flags(parser)
    add_budget_flags(parser, DEFAULT_STEPS)
    add_training_flags(parser)
    add_adversarial_flags(parser)
    add_watching_flags(watching := parser.add_argument_group("watching"), log_every=20, eval_every=200, save_every=200)
    add_validation_flag(watching, 90.0)
    add_sample_flags(watching)
    add_machine_flags(parser)
    everyday = ["language", "tag", "exp", "resume", "overwrite", "generator", "init", "speaker", "speaker_embedding"]
    everyday += ["speaker_vectors"]
    args = parse_flags(parser, argv, everyday=[*everyday, "steps", "max_minutes", "batch_size", "cpu"])
    settle_budget(args, DEFAULT_STEPS)
    # As runs began before there were the flags.
    args.flag_defaults |= {
        "init": NOISE,
        "unit_lr": 1.0,
        "discriminator_share": 1.0,
        "discriminator": "small",
        "hearing": DEAF,
    }
    check_args(args)
    return args


# %% [markdown]
# ## Data


# %%
class Recording(NamedTuple):
    """A recording to compare a resynthesis with, and what is spoken for it."""

    spoken: SpokenItem
    audio_path: Path
    n_samples: int


class Data(NamedTuple):
    crops: CropDataset
    validation: list[Recording]
    sampled: list[Recording]
    speakers: list[str]  # rows 1, 2, … of the speaker embedding or of speaker_vectors
    speaker_vectors: torch.Tensor | None  # (n_speakers + 1, D) with --speaker_vectors: each one's mean, row 0 zeros


def load_data(args: argparse.Namespace, paths: dict[str, Path], n_units: int) -> Data:
    """Crops to train on, and recordings to validate on and to listen to."""
    selection = read_selection(vars(args))
    train, validation = load_split(paths, "train", selection), load_split(paths, "val", selection)
    named = named_speakers(train)
    speakers = known_speakers(named, paths["speakers"]) if args.speaker_embedding else []
    chosen, vector_of, mean_vectors = choose_validation(validation, args.validation_seconds), None, None
    if args.speaker_vectors:
        speakers = sorted(named)
        vector_of = utterance_vectors(paths["cache"], chain(train, chosen))
        mean_vectors = torch.from_numpy(speaker_means(train, vector_of, speakers))
    crops = CropDataset(
        train,
        crop_frames=args.crop_frames,
        seed=args.seed,
        speakers=speakers,
        vector_of=vector_of,
        condition=args.condition,
        unit_noise=args.unit_noise,
        n_units=n_units,
    )
    judged = [describe_recording(utterance, args.condition, speakers, vector_of) for utterance in chosen]
    sampled = judged[:: max(1, len(judged) // max(1, args.num_samples))][: args.num_samples]
    return Data(crops, judged, sampled, speakers, mean_vectors)


def load_split(paths: dict[str, Path], split: str, selection: Selection) -> UtteranceTable:
    """The selected utterances of one split."""
    return load_utterances(paths["corpus"], data_root(), paths["cache"], [split], selection)


def choose_validation(utterances: Sequence[LoadedUtterance], seconds: float) -> list[LoadedUtterance]:
    """An even spread of utterances of about ``seconds`` in all, sorted by length so that batches are dense."""
    total = float(count_frames(utterances).sum()) / UNIT_RATE
    stride = max(1, int(total / seconds))
    return sorted(utterances[::stride], key=lambda utterance: (len(utterance.frame_units), utterance.id))


def describe_recording(
    utterance: LoadedUtterance, condition: str, speakers: Sequence[str], vector_of: VectorOf | None
) -> Recording:
    """What is spoken for an utterance; who is not known by name speaks by the vector of the recording itself."""
    content = read_content(utterance, condition)
    vector = vector_of(utterance.id) if vector_of and utterance.speaker not in speakers else None
    spoken = SpokenItem(utterance.id, content, utterance.f0, utterance.speaker, vector)
    return Recording(spoken, utterance.audio_path, frames_to_samples(len(content)))


def read_batches(
    crops: CropDataset, accelerator: Accelerator, *, batch_size: int, first: int, last: int, num_workers: int | None
) -> Iterator[CropBatch]:
    """The batches of steps ``first`` to ``last`` for this process, on its device; num_workers: reading threads."""
    sampler = StepSampler(first, last, batch_size, rank=accelerator.process_index, world=accelerator.num_processes)
    workers = num_workers if num_workers is not None else 4 * (accelerator.device.type == "cuda")
    if workers:
        # Threads: a scheduler's signal goes to all processes of a job, and loader processes would die of it.
        read = (items for _, items in map_ahead(crops.__getitem__, enumerate(sampler), workers))
    else:
        read = ([crops[number] for number in numbers] for numbers in sampler)
    for items in read:
        yield move_batch(collate(items, crops.crop_frames), accelerator.device)


# %% [markdown]
# ## Models
#
# Training moves the generator; its moving average is what is validated, saved as the voice, and listened to.


# %%
def build_models(
    args: argparse.Namespace,
    sizes: dict[str, object],
    data: Data,
    clusters: Path,
    accelerator: Accelerator,
    *,
    old: OldVoice | None = None,
) -> Models:
    """The generator, started from an ``old`` voice or with embeddings from phase 1's ``clusters``, and its opponent.

    Of an old voice the opponent is taken over too, where it brings one of the same sizes.

    Units that were made elsewhere came without clusters; their embeddings start at random.
    """
    generator = build_generator(args.generator, sizes)
    found = None if lacks_clusters(clusters.parent) else load_kmeans(clusters)
    if found and not args.random_embeddings:
        seed_embeddings(generator, found.books)
    if old is not None:
        start_from(generator, old, data.crops.utterances, found)
    generator_ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    discriminator = None
    if args.adversarial_after != 1:
        width = {"width": args.discriminator_width} if args.discriminator_width else {}
        size = {"size": args.discriminator} if args.discriminator != "small" else {}
        discriminator = DISCRIMINATORS[args.generator](**width, **size)
        if old is not None:
            start_discriminator(discriminator, old)
    trained = prepare_training(
        accelerator,
        generator,
        lr=args.lr,
        weight_decay=args.weight_decay,
        unit_lr=args.unit_lr,
        compiled=args.compile,
    )
    if discriminator is not None:
        discriminator = prepare_training(
            accelerator, discriminator, lr=args.discriminator_lr, weight_decay=args.weight_decay
        )
    hearing = open_hearing(args.hearing, frames_to_samples(args.crop_frames))
    if hearing is not None:
        hearing.to(accelerator.device)
    return Models(
        args.generator, sizes, data.speakers, data.speaker_vectors, trained, generator_ema, discriminator, hearing
    )


# %% [markdown]
# ## One step
#
# The batch is resynthesised once. The discriminator learns first, on windows of it; then the generator.


# %%
def train_step(
    args: argparse.Namespace,
    accelerator: Accelerator,
    models: Models,
    batch: CropBatch,
    progress: Progress,
    *,
    recorder: Recorder | None = None,
) -> Losses:
    """The updates of one step; returns its losses, the means over all processes."""
    step, total_steps = progress.step, progress.total_steps
    generator, discriminator = models.generator, models.discriminator
    set_learning_rate(generator, learning_rate(step, total_steps, generator.peak_lr, args.warmup))
    generator.wrapped.train()
    seen = None
    if is_adversarial(step, total_steps, args.adversarial_after):
        seen = choose_seen(args, step, len(batch.waveform))
        set_learning_rate(discriminator, discriminator_rate(args, step, total_steps))
    if recorder is None:
        losses = update_models(args, accelerator, models, batch, seen)
    else:
        losses = update_by_graph(args, accelerator, models, batch, seen, recorder=recorder)
    update_ema(models.generator_ema, generator.model, step, args.ema)
    return mean_over_processes(accelerator, losses)


def update_models(
    args: argparse.Namespace,
    accelerator: Accelerator,
    models: Models,
    batch: CropBatch,
    seen: tuple[slice, slice | torch.Tensor] | None,
) -> Losses:
    """One update of the generator and, where it sees anything, of the discriminator before it."""
    generator, discriminator = models.generator, models.discriminator
    losses, against = {}, {}
    with accelerator.autocast():
        resynthesis = speak(generator.wrapped, batch.content, batch.f0, batch.speaker, batch.key).float()
    if seen is not None:
        losses |= discriminator_step(
            accelerator, discriminator, batch.waveform[seen], resynthesis[seen], clip=args.clip
        )
        against = {"discriminator": discriminator.model, "seen": seen}
        against |= {"mel_weight": args.mel_weight, "feature_weight": args.feature_weight}
    if models.hearing is not None:
        crops = judged_crops(len(resynthesis), args.discriminator_share)
        with accelerator.autocast():
            heard = hearing_loss(models.hearing, batch.waveform[crops], resynthesis[crops])
        against |= {"heard": heard, "hearing_weight": args.hearing_weight}
    mel_windows = {n_fft: MEL_WINDOWS[n_fft] for n_fft in args.mel_windows}
    return losses | generator_step(
        accelerator, generator, batch.waveform, resynthesis, mel_windows=mel_windows, clip=args.clip, **against
    )


def update_by_graph(
    args: argparse.Namespace,
    accelerator: Accelerator,
    models: Models,
    batch: CropBatch,
    seen: tuple[slice, slice] | None,
    *,
    recorder: Recorder,
) -> Losses:
    """``update_models`` as one CUDA graph, which finds the numbers of the samples to judge in a tensor."""
    if seen is None:
        return take_step(
            recorder,
            "regression",
            lambda *tensors: update_models(args, accelerator, models, CropBatch(*tensors), None),
            batch,
        )
    crops, window = seen
    samples = torch.arange(window.start, window.stop, device=batch.waveform.device)

    def update(*tensors: torch.Tensor) -> Losses:
        *of_batch, chosen = tensors
        return update_models(args, accelerator, models, CropBatch(*of_batch), (crops, chosen))

    return take_step(recorder, "adversarial", update, [*batch, samples])


def choose_recorder(args: argparse.Namespace, accelerator: Accelerator, models: Models) -> Recorder | None:
    """Steps are recorded where one process has a GPU for itself, and no loss scale asks the CPU at every step."""
    if args.no_graph or args.compile or accelerator.device.type != "cuda":
        return None
    if accelerator.num_processes > 1 or accelerator.scaler:
        return None
    return open_recorder(filter(None, (models.generator, models.discriminator)))


def discriminator_rate(args: argparse.Namespace, step: int, total_steps: int | None) -> float:
    """Its learning rate, which warms up from where it takes part: at a full first step it would forget what it knows.

    While --max_minutes has not become a number of steps, no share of them has passed.
    """
    start = adversarial_start(total_steps, args.adversarial_after)
    if args.max_minutes is not None and (args.adversarial_after is None or args.adversarial_after < 1):
        start = max(start, CALIBRATION_STEPS.stop)
    return learning_rate(step, total_steps, args.discriminator_lr, args.warmup, start=start)


def choose_seen(args: argparse.Namespace, step: int, n_crops: int) -> tuple[slice, slice]:
    """The crops of this process's ``n_crops``, and their samples, that the discriminator sees."""
    window = adversarial_window(
        step, seed=args.seed, crop_frames=args.crop_frames, discriminator_frames=args.discriminator_frames
    )
    return judged_crops(n_crops, args.discriminator_share), window


def forget_best(progress: Progress, after: float | None) -> Progress:
    """While a discriminator takes part, the voice validated last is the best.

    Regression alone is nearer in log-mel and sounds duller, and so do the first adversarial steps beside the last ones
    (DistillMOS +.36, docs/results/voice_quality.md): log-mel does not hear what a discriminator brings.
    """
    if is_adversarial(progress.step, progress.total_steps, after):
        return progress._replace(best=math.inf, stale=0)
    return progress


def gains_nothing(progress: Progress, patience: int, adversarial_after: float | None) -> bool:
    """Whether --patience ends the training: not before a discriminator that is planned has taken part."""
    start = adversarial_start(progress.total_steps, adversarial_after)
    planned = progress.total_steps is not None and start < progress.total_steps
    return has_stalled(progress, patience, since=start if planned else 0)


# %% [markdown]
# ## Validation and samples


# %%
@torch.inference_mode()
def validate(voice: Vocoder, recordings: Sequence[Recording]) -> float:
    """Mean log-mel distance (nats) of the averaged weights over the validation frames."""
    total, n_samples = 0.0, 0
    spoken = synthesize_utterances(voice, [recording.spoken for recording in recordings])
    for recording, (_, waveform) in zip(recordings, spoken):
        original = load_crop(recording.audio_path, 0, len(waveform))
        distance = mel_loss(torch.from_numpy(waveform)[None], torch.from_numpy(original)[None]).item()
        total, n_samples = total + distance * len(waveform), n_samples + len(waveform)
    return total / n_samples


def write_samples(folder: Path, voice: Vocoder, recordings: Sequence[Recording], step: int) -> None:
    """The recordings as ``voice`` speaks them now, and as they are, for the ear."""
    spoken = synthesize_utterances(voice, [recording.spoken for recording in recordings])
    for recording, (name, waveform) in zip(recordings, spoken):
        save_audio(folder / f"step_{step:07d}" / f"{name}.wav", waveform)
        save_audio(folder / "original" / f"{name}.wav", load_crop(recording.audio_path, 0, recording.n_samples))


# %% [markdown]
# ## The loop
#
# Every step: validate → sample → save → (stop) → update. A checkpoint holds everything that the next step depends on.
# What the loops of all trainers share is in `training/resuming.py`.


# %%
def train(
    args: argparse.Namespace, accelerator: Accelerator, run: Run, progress: Progress, *, data: Data, models: Models
) -> tuple[Progress, bool]:
    """Train to the end or to a stop signal; returns where the training stands, and whether it was told to stop."""
    voice, step_seconds = averaged_voice(models), []
    recorder = choose_recorder(args, accelerator, models)
    batches = read_batches(
        data.crops,
        accelerator,
        batch_size=args.batch_size,
        first=progress.step,
        last=progress.total_steps or ENDLESS,
        num_workers=args.num_workers,
    )
    while True:
        last, stopping = is_last(progress), bool(run.signals)

        # A stopped run is not kept waiting: it validates when it is resumed.
        validating = run.rank0 and (last or not stopping)
        if validating and is_due(progress, args.eval_every, since=progress.validated, ending=last):
            distance = validate(voice, data.validation)
            progress = note_validation(progress, distance)
            write_row(run, progress.step, {"validation_mel_nat": distance})
            if progress.stale == 0:
                save_progress(run, "best", progress, **model_state(accelerator, models))
        if run.rank0 and data.sampled and is_due(progress, args.sample_every, since=run.first_step, ending=last):
            write_samples(run.exp / "samples", voice, data.sampled, progress.step)
        stalled = gains_nothing(progress, args.patience, args.adversarial_after)
        gives_up = bool(args.patience) and any_process(accelerator, stalled)
        stopping = any_process(accelerator, stopping)
        ending = last or gives_up or stopping
        if run.rank0 and is_due(progress, args.save_every, since=run.first_step, ending=ending):
            save_progress(run, "latest", progress, **model_state(accelerator, models))
        if ending:
            return progress, stopping

        clock, batch = time.monotonic(), next(batches)
        progress = forget_best(progress, args.adversarial_after)
        losses = train_step(args, accelerator, models, batch, progress, recorder=recorder)
        progress = note_step(run, progress, losses)
        logging_now = is_due(progress, args.log_every, ending=is_last(progress))
        if logging_now or progress.total_steps is None:
            wait_for(accelerator.device)
        step_seconds.append(time.monotonic() - clock)
        if logging_now:
            progress = log_losses(args, run, progress, models, step_seconds)
        if progress.total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            progress = plan_budget(
                args,
                accelerator,
                run,
                progress,
                data=data,
                models=models,
                batch=batch,
                step_seconds=step_seconds,
                by_graph=recorder is not None,
            )


def log_losses(
    args: argparse.Namespace, run: Run, progress: Progress, models: Models, step_seconds: list[float]
) -> Progress:
    """A row of the losses since the last row, with the learning rate and the speed."""
    latest = step_seconds[-len(progress.since_log) :]
    values = {
        "learning_rate": float(models.generator.optimizer.param_groups[0]["lr"]),
        "audio_seconds_per_second": args.batch_size * args.crop_frames / UNIT_RATE / float(np.median(latest)),
    }
    if next(models.generator_ema.parameters()).is_cuda:
        values["gpu_peak_mib"] = peak_gpu_mib()
    if run.rank0:
        warn_of_collapse(progress.step, progress.since_log)
    return write_losses(run, progress, values, shown=["train_mel_nat"])


def plan_budget(
    args: argparse.Namespace,
    accelerator: Accelerator,
    run: Run,
    progress: Progress,
    *,
    data: Data,
    models: Models,
    batch: CropBatch,
    step_seconds: list[float],
    by_graph: bool,
) -> Progress:
    """Turn --max_minutes into a number of steps, by the seconds of the first ones and of a validation."""
    evaluation_seconds = judgement_seconds = 0.0
    if run.rank0:
        clock = time.monotonic()
        validate(averaged_voice(models), data.validation)
        evaluation_seconds = time.monotonic() - clock
    if models.discriminator is not None and not is_adversarial(progress.step - 1, None, args.adversarial_after):
        originals = batch.waveform[choose_seen(args, progress.step, len(batch.waveform))]
        judgement_seconds = time_judgement(
            models.discriminator.model, originals, accelerator.autocast, by_graph=by_graph
        )
    more = calibrate(
        60 * args.max_minutes - training_seconds(run),
        step_seconds[CALIBRATION_STEPS.start :],
        evaluation_seconds,
        args.eval_every,
        step=progress.step,
        judgement_seconds=judgement_seconds,
        adversarial_after=args.adversarial_after,
    )
    return note_plan(run, progress, broadcast(accelerator, progress.step + more), args.max_minutes)


# %% [markdown]
# ## From the first line to the last


# %%
def main() -> int:
    args = parse_args()
    with only_run(args.exp or language_paths(args.language, args.tag, args.generator)["vocoder"]):
        return train_voice(args)


def train_voice(args: argparse.Namespace) -> int:
    exit_on_stop_signals()
    paths = language_paths(args.language, args.tag, args.generator)
    exp, units_exp = args.exp or paths["vocoder"], paths["units"]
    args.batch_size = choose_batch_size(args, exp)
    check_batch_size(args.batch_size, launched_processes())
    require_finished(units_exp, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    units = read_derived(units_exp, "n_units", "n_streams")
    args, old, said = settle_start(args, exp)
    precision = choose_precision(args.mixed_precision, cpu=args.cpu, fp16=True)
    accelerator = start_accelerator(precision, cpu=args.cpu)
    compute_deterministically(args.deterministic)
    if accelerator.is_main_process:
        enter_experiment(args, exp, paths, units, old)
    accelerator.wait_for_everyone()
    if has_finished(exp, args.steps):
        return 0
    checkpoint = find_checkpoint(args.resume, exp)
    state = load_checkpoint(checkpoint, command=f"python src/{Path(__file__).name}") if checkpoint else None

    set_seed(args.seed)
    with noting_failed_start(exp):
        with accelerator.main_process_first():
            data = load_data(args, paths, units["n_units"])
            if old is not None:
                old = hear_speakers(old, data.crops.utterances, data.speakers, paths["cache"])
        sizes = choose_sizes(args, units, len(data.speakers))
        models = build_models(args, sizes, data, exp / "units" / "kmeans.npz", accelerator, old=old)
        progress = Progress(
            total_steps=plan_steps(args.steps, args.epochs, n_items=len(data.crops), batch_size=args.batch_size)
        )
        conditions = {"precision": precision, "processes": accelerator.num_processes}
        if state:
            progress = restore(args, checkpoint, state, progress, exp=exp, models=models, accelerator=accelerator)
    run = start_run(exp, progress, conditions, rank0=accelerator.is_main_process)
    if state and run.rank0:
        note_changes(state, run.conditions)
    describe_run(run, data, models, said)
    progress, stopping = train(args, accelerator, run, progress, data=data, models=models)

    if end_run(run, progress, stopping=stopping):
        return EXIT_STOPPED
    if run.rank0:
        best = {"best_validation_mel_nat": progress.best}
        finish_run(run, progress, best, f"validation log-mel distance {progress.best:.3f} nats")
        if says_next():
            log.info("next: %s", as_typed("python", "src/vocoder_test.py", "--exp", exp))
    return 0


def enter_experiment(
    args: argparse.Namespace, exp: Path, paths: dict[str, Path], units: dict[str, object], old: OldVoice | None = None
) -> None:
    """Make or re-enter the folder; phase 1's clusters are copied, so that the voice can speak recordings alone."""
    table = open_table(paths["corpus"], paths["cache"])
    require_units_below(table, units["n_units"])
    taken = check_selection(table, read_selection(vars(args)), splits=paths["splits"])
    derived = describe_inputs(args.language, paths) | {
        "generator": args.generator,
        "condition": args.condition,
        "sample_rate_hz": SAMPLE_RATE,
        "encoder": units["encoder"],
        "layer": units["layer"],
    }
    derived |= describe_old(old) if old else {}
    if args.speaker_vectors:
        derived["speaker_encoder"] = SPEAKER_ENCODER
        require_speaker_encoder(paths["cache"])
    # A run may be lengthened, and watched or carried out differently; --max_minutes and --epochs are its identity.
    changeable = ("steps", "patience", "log_every", "sample_every", "num_samples", "cpu", "compile", "no_graph")
    open_experiment(exp, vars(args), inputs=[paths["corpus"]], derived=derived, ignore=changeable)
    configure_log(exp / "train.log")
    for line in taken:
        log.info("%s", line)
    copy_clusters(paths["units"], exp)


def choose_batch_size(args: argparse.Namespace, exp: Path) -> int:
    """Crops a step: as asked for, as the run in ``exp`` began, or as the device likes."""
    began = {} if args.overwrite else read_arguments(exp)
    of_device = CROPS_ON_GPU if torch.cuda.is_available() and not args.cpu else CROPS_ON_CPU
    return args.batch_size or began.get("batch_size") or of_device


def settle_start(args: argparse.Namespace, exp: Path) -> tuple[argparse.Namespace, OldVoice | None, str]:
    """The flags with what --init comes to, the voice this run starts from, and what the log says of it.

    A run that continues has its weights in a checkpoint. The schedule depends on where a run starts.
    """

    def load(folder: Path) -> OldVoice:
        if args.random_embeddings:
            raise UserError("--random_embeddings")
        old = load_old_voice(folder)
        check_same_model(old, args.generator, chosen_sizes(args) | choose_condition(args))
        return old

    base = BASE_VOICES.get(args.generator, BASE_VOICE)
    chosen = choose_start(args.init, exp, resume=args.resume, overwrite=args.overwrite, base=base)
    start, old, said = load_start(chosen, load)
    schedule = choose_schedule(start, old, exp)
    if old is not None and is_short(args):
        schedule |= {"hearing": DEAF}
    flags = {name: value for name, value in vars(args).items() if value is not None}
    return argparse.Namespace(**(vars(args) | schedule | flags | {"init": start.name})), old, said


def choose_schedule(start: Start, old: OldVoice | None, exp: Path) -> dict[str, object]:
    """The flags of the schedule where none is given; a run that goes on keeps those that it began with."""
    if start.name == NOISE:
        return FROM_NOISE
    if old is None:
        began = read_json(exp / "config.json")["arguments"]
        return FROM_NOISE | {name: began[name] for name in (*FROM_WEIGHTS, *WITH_DISCRIMINATOR) if name in began}
    return FROM_WEIGHTS | (WITH_DISCRIMINATOR if old.discriminator else {})


def is_short(args: argparse.Namespace) -> bool:
    """Whether a run is too short for a recogniser: the steps that it costs bring more (docs/results/naturalness.md)."""
    if args.max_minutes is not None:
        return args.max_minutes < LEAST_HEARD_MINUTES
    return args.steps is not None and args.steps < LEAST_HEARD_STEPS


def restore(
    args: argparse.Namespace,
    checkpoint: Path,
    state: dict[str, object],
    planned: Progress,
    *,
    exp: Path,
    models: Models,
    accelerator: Accelerator,
) -> Progress:
    """Continue from a checkpoint: this run's own, or another experiment's of the same model."""
    own = is_own(checkpoint, exp)
    if not own:
        check_borrowed(state, checkpoint, describe_models(models), planned.total_steps)
    load_models(accelerator, models, state, checkpoint)
    keep_plan = args.max_minutes is not None
    return restore_progress(state, planned, own=own, keep_plan=keep_plan, device=accelerator.device)


def describe_run(run: Run, data: Data, models: Models, start: str) -> None:
    seconds = float(count_frames(data.crops.utterances).sum()) / UNIT_RATE
    n_parameters = sum(parameter.numel() for parameter in models.generator.model.parameters())
    text = "%s: %.2f h to train on, %.1f M parameters, %d threads"
    log.info(text, run.exp, seconds / 3600, n_parameters / 1e6, torch.get_num_threads())
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
# flags = "--language spanish --steps 50 --channels 64 --batch_size 4 --adversarial_after 0"
# args = parse_args(flags.split())
# paths = language_paths(args.language, args.tag, args.generator)
# args, old, said = settle_start(args, paths["vocoder"])
# print(said)
# units = read_derived(paths["units"], "n_units", "n_streams")
# accelerator = start_accelerator("no", cpu=args.cpu)
# set_seed(args.seed)

# %% [markdown]
# The data: crops to train on, recordings to validate on.

# %% tags=["active-ipynb"]
# data = load_data(args, paths, units["n_units"])
# print(len(data.crops), "crops;", len(data.validation), "recordings to validate on")
# data.crops[0].content[:10]

# %% [markdown]
# The models, and one batch.

# %% tags=["active-ipynb"]
# sizes = choose_sizes(args, units, len(data.speakers))
# models = build_models(args, sizes, data, paths["units"] / "kmeans.npz", accelerator, old=old)
# batches = read_batches(data.crops, accelerator, batch_size=args.batch_size, first=0, last=args.steps, num_workers=0)
# batch = next(batches)
# {name: tuple(tensor.shape) for name, tensor in batch._asdict().items()}

# %% [markdown]
# One step, with the discriminator. Run this cell as often as you like; `progress` counts the steps.

# %% tags=["active-ipynb"]
# progress = Progress(total_steps=args.steps)
# losses = train_step(args, accelerator, models, batch, progress)
# progress = progress._replace(step=progress.step + 1)
# {name: round(value.item(), 3) for name, value in losses.items()}

# %% [markdown]
# Listen to the voice, on a recording it has not been trained on.

# %% tags=["active-ipynb"]
# from IPython.display import Audio
#
# ((name, waveform),) = synthesize_utterances(averaged_voice(models), [data.validation[0].spoken])
# Audio(waveform, rate=SAMPLE_RATE)
