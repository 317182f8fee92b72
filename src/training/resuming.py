"""What the loops of all trainers share: starting, stopping on a signal, checkpoints, rows of metrics, finishing.

Every loop (``training/loop.py``, and those of the voice and the speech LLM) has the same parts in the same order:

    progress = Progress(total_steps=plan_steps(...))                   # or restore_progress(state, progress, ...)
    run = start_run(exp, progress, conditions, rank0=...)
    while True:
        last, stopping = is_last(progress), bool(run.signals)
        if (last or not stopping) and is_due(progress, args.eval_every, since=progress.validated, ending=last):
            progress = note_validation(progress, validate(...))        # progress.stale == 0: the best so far
        if is_due(progress, args.save_every, since=run.first_step, ending=last or stopping):
            save_progress(run, "latest", progress, model=model.state_dict(), ...)
        if last or stopping:
            break
        losses = ...                                                   # one update
        progress = note_step(run, progress, losses)
        if is_due(progress, args.log_every, ending=is_last(progress)):
            progress = write_losses(run, progress, {"learning_rate": ...}, shown=["train_loss"])
    stopped = end_run(run, progress, stopping=stopping)

``Progress`` (training/training_state.py) changes from step to step, and all of it is in a checkpoint. ``Run`` is one
start of a training, and does not change until it ends. Every process calls all of these; rank 0 alone writes.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.tensorboard import SummaryWriter

from tqdm import tqdm

from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.files import read_json
from core.interrupts import end_interrupted, ignores_interrupts, raise_interrupts
from training.checkpoints import random_state, save_checkpoint
from training.experiment import append_metrics, cut_metrics, is_finished, mark_finished
from training.training_state import Losses, Progress, finite_means, is_last

log = logging.getLogger("oral_units")

# SIGTERM from Slurm, SIGUSR1 and SIGUSR2 from Grid Engine, before it suspends and before it kills.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
ONE_PRESS_SECONDS = 2.0


class Run(NamedTuple):
    """One start of a training: its folder, its clock, what it writes to, and the signals it has received."""

    exp: Path
    rank0: bool  # whether this process writes
    conditions: dict[str, int | str]  # threads, precision, processes: the last bits of the results depend on them
    first_step: int
    clock: float  # s of time.monotonic() at which all the training so far would have begun
    signals: list[int]
    writer: SummaryWriter | None  # rank 0's
    bar: tqdm


def catch_stop_signals() -> list[int]:
    """A list that fills when a scheduler's signal or Ctrl-C arrives, so that the loop stops where it can save.

    Ctrl-C once more ends the process at once. One press may arrive twice within ``ONE_PRESS_SECONDS``: from the
    terminal, and from the shell script or torchrun that waits for this process.
    """
    received: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda caught, _: received.append(caught))
    if not ignores_interrupts():
        signal.signal(signal.SIGINT, _note_first_press(received))
    return received


def _note_first_press(received: list[int]) -> Callable[[int, object], None]:
    pressed: list[float] = []

    def note(caught: int, _: object) -> None:
        pressed.append(time.monotonic())
        if len(pressed) == 1:
            received.append(caught)
        elif pressed[-1] - pressed[0] > ONE_PRESS_SECONDS:
            end_interrupted()

    return note


def exit_on_stop_signals() -> None:
    """Until the loop begins there is nothing to save: such a signal ends the run at once, to be started again.

    Ctrl-C does so by itself (core.cli.run_main).
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda caught, _: sys.exit(EXIT_STOPPED))


def has_finished(exp: Path, steps: int | None) -> bool:
    """Whether the run has ended already with as many ``steps`` as are asked for, and says so in the log."""
    done = is_finished(exp) and (steps is None or steps <= read_json(exp / "finished.json")["step"])
    if done:
        log.info("%s: already finished with this configuration; nothing to do", exp)
    return done


def find_checkpoint(resume: str | None, exp: Path) -> Path | None:
    """The checkpoint to continue from: the path that --resume gives, else latest.pt where there is one."""
    if resume not in (None, "auto", "latest"):
        return Path(resume)
    latest = exp / "checkpoints" / "latest.pt"
    return latest if latest.exists() else None


def is_own(checkpoint: Path, exp: Path) -> bool:
    """Whether a checkpoint is the run's own, not another experiment's."""
    return checkpoint.resolve().is_relative_to(exp.resolve())


def check_borrowed(
    state: Mapping[str, object], path: Path, described: Mapping[str, object], total_steps: int | None
) -> None:
    """Refuse another experiment's checkpoint of another model, or one that is past ``total_steps`` already.

    described: what this run's own checkpoints say of the model, of which an older one may lack a part.
    """
    for name, value in described.items():
        found = state.get(name)
        if isinstance(value, dict) and isinstance(found, dict):
            found = value | {key: known for key, known in found.items() if key in value}
        if found != value:
            raise UserError(f"{path}: expected a checkpoint of {name} {value}, found {found}; resume one of this model")
    step = state["step"]
    if total_steps is not None and step >= total_steps:
        raise UserError(
            f"{path}: is at step {step}, of {total_steps} planned here; give more --steps, which count from 0"
        )


def note_changes(state: Mapping[str, object], conditions: Mapping[str, int | str]) -> None:
    """Say which conditions of the stopped run, in its checkpoint ``state``, are others now."""
    for name, value in conditions.items():
        before = state.get(name, value)
        if before != value:
            log.warning("%s: %s when stopped, %s now; results differ in the last bits", name, before, value)


def start_run(exp: Path, progress: Progress, conditions: dict[str, int | str], *, rank0: bool = True) -> Run:
    """From here on a stop signal is caught; rows after the restored step are dropped, to be written again."""
    if rank0:
        cut_metrics(exp, progress.step, progress.validated)
        (exp / "finished.json").unlink(missing_ok=True)  # a lengthened run is not finished until it is
    return Run(
        exp=exp,
        rank0=rank0,
        conditions={"threads": torch.get_num_threads()} | conditions,
        first_step=progress.step,
        clock=time.monotonic() - progress.seconds,
        signals=catch_stop_signals(),
        writer=SummaryWriter(exp / "tensorboard", purge_step=progress.step) if rank0 else None,
        bar=tqdm(
            total=progress.total_steps,
            initial=progress.step,
            unit="step",
            desc=exp.name,
            disable=None if rank0 else True,
        ),
    )


def note_step(run: Run, progress: Progress, losses: Losses) -> Progress:
    """After an update of the weights, with its losses."""
    run.bar.update()
    return progress._replace(step=progress.step + 1, since_log=[*progress.since_log, losses])


def training_seconds(run: Run) -> float:
    """Seconds of training, earlier starts included."""
    return time.monotonic() - run.clock


def note_plan(run: Run, progress: Progress, total_steps: int, minutes: float) -> Progress:
    """After the calibration of a time budget (schedule.calibrate): the number of steps is known."""
    run.bar.total = total_steps
    log.info("%.1f minutes stand for %d steps", minutes, total_steps)
    return progress._replace(total_steps=total_steps)


def write_row(run: Run, step: int, values: Mapping[str, float]) -> None:
    """One row of metrics.jsonl and TensorBoard, with the seconds of training so far; rank 0 alone writes."""
    if not run.rank0:
        return
    append_metrics(run.exp, {"step": step, "seconds": round(training_seconds(run), 3)} | values)
    for name, value in values.items():
        run.writer.add_scalar(name, value, step)


def write_losses(
    run: Run, progress: Progress, extra: Mapping[str, float], *, shown: Sequence[str], prefix: str = ""
) -> Progress:
    """A row of the mean of each loss since the last row, called ``prefix`` + its name, and of ``extra``.

    shown: which of them the progress bar shows, with the best validation.
    """
    means = {prefix + name: value for name, value in finite_means(run.exp, progress).items()}
    write_row(run, progress.step, means | extra)
    best = progress.best if isinstance(progress.best, float) else progress.best[0]
    values = {name.removeprefix("train_"): means[name] for name in shown if name in means} | {"best": best}
    run.bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
    return progress._replace(since_log=())


def save_progress(run: Run, name: str, progress: Progress, **parts: object) -> None:
    """Write checkpoints/<name>.pt: the progress, the conditions, the random state, and the models in ``parts``.

    latest.pt is not written over where a loss since the last row is not finite (UserError).
    """
    if name == "latest":
        finite_means(run.exp, progress)
    where = progress._replace(seconds=training_seconds(run), since_log=list(progress.since_log))._asdict()
    state = where | run.conditions | {"random_state": random_state()} | parts
    save_checkpoint(run.exp / "checkpoints" / f"{name}.pt", state)


def end_run(run: Run, progress: Progress, *, stopping: bool) -> bool:
    """Close what the run writes to; returns whether a signal stopped it, which the log then says."""
    if not stopping:
        raise_interrupts()  # nothing is left that could be saved
    run.bar.close()
    if run.writer:
        run.writer.close()
    stopped = stopping and not is_last(progress)
    if stopped:
        names = ["Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name for number in run.signals]
        by = ", ".join(names) or "a signal to another process"
        log.info("%s: stopped by %s at step %d, saved; --resume continues", run.exp, by, progress.step)
    return stopped


def finish_run(run: Run, progress: Progress, best: dict[str, float], described: str) -> None:
    """Mark the experiment as finished; ``best`` goes to finished.json, ``described`` says it in the log."""
    seconds = training_seconds(run)
    mark_finished(run.exp, {"step": progress.step} | best | {"seconds": round(seconds, 1)})
    log.info("wrote %s: %d steps in %.1f minutes, best %s", run.exp, progress.step, seconds / 60, described)
