"""The loop of the trainers that judge themselves by one number: prosody, language models of units, translation.

The voice's and the speech LLM's trainers have loops of their own, of the same parts (training/resuming.py): what they
train changes on the way.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from accelerate import Accelerator

from training.processes import any_process, broadcast
from training.resuming import Run, note_plan, note_step, save_progress, training_seconds, write_losses, write_row
from training.schedule import calibrate
from training.training_state import Losses, Progress, has_stalled, is_due, is_last, note_validation

CALIBRATION_STEPS = range(3, 13)  # timed to turn --max_minutes into steps; the ones before warm the caches


class Work(NamedTuple):
    """What a trainer does in the loop."""

    update: Callable[[Progress], Losses]  # one step; a function of (seed, step) and the weights alone
    validate: Callable[[], dict[str, float]]  # of the averaged weights
    judged_by: str  # which value of ``validate`` is to fall
    state: Callable[[], dict[str, object]]  # weights, average and optimizer, for a checkpoint
    optimizer: torch.optim.Optimizer
    shown: Sequence[str]  # losses beside the progress bar, as they are called in metrics.jsonl
    prefix: str = ""  # of the losses' names in metrics.jsonl


def run_loop(
    args: argparse.Namespace, run: Run, progress: Progress, work: Work, *, accelerator: Accelerator | None = None
) -> tuple[Progress, bool]:
    """Every step: validate, save, perhaps stop, update.

    args: ``eval_every``, ``save_every``, ``log_every``, ``patience`` and ``max_minutes``. accelerator: of several
    processes. Returns where the training stands at its end, and whether a signal ended it.
    """
    step_seconds: list[float] = []
    while True:
        last, stopping = is_last(progress), bool(run.signals)

        # A stopped run is not kept waiting: it validates when it is resumed.
        validating = run.rank0 and (last or not stopping)
        if validating and is_due(progress, args.eval_every, since=progress.validated, ending=last):
            found = work.validate()
            progress = note_validation(progress, found[work.judged_by])
            write_row(run, progress.step, found)
            if progress.stale == 0:
                save_progress(run, "best", progress, **work.state())
        gives_up = bool(args.patience) and in_any(accelerator, has_stalled(progress, args.patience))
        stopping = in_any(accelerator, stopping)
        ending = last or gives_up or stopping
        if run.rank0 and is_due(progress, args.save_every, since=run.first_step, ending=ending):
            save_progress(run, "latest", progress, **work.state())
        if ending:
            return progress, stopping

        clock = time.monotonic()
        progress = note_step(run, progress, work.update(progress))
        step_seconds.append(time.monotonic() - clock)
        if is_due(progress, args.log_every, ending=is_last(progress)):
            rate = {"learning_rate": work.optimizer.param_groups[0]["lr"]}
            progress = write_losses(run, progress, rate, shown=work.shown, prefix=work.prefix)
        if progress.total_steps is None and len(step_seconds) >= CALIBRATION_STEPS.stop:
            progress = plan_budget(args, run, progress, work, step_seconds, accelerator=accelerator)


def in_any(accelerator: Accelerator | None, flag: bool) -> bool:
    return flag if accelerator is None else any_process(accelerator, flag)


def plan_budget(
    args: argparse.Namespace,
    run: Run,
    progress: Progress,
    work: Work,
    seconds: Sequence[float],
    *,
    accelerator: Accelerator | None = None,
) -> Progress:
    """Turn --max_minutes into a number of steps, by the seconds of the first ones and of a validation."""
    clock = time.monotonic()
    if run.rank0:
        work.validate()
    left = 60 * args.max_minutes - training_seconds(run)
    more = calibrate(left, list(seconds[CALIBRATION_STEPS.start :]), time.monotonic() - clock, args.eval_every)
    total_steps = progress.step + more
    total_steps = total_steps if accelerator is None else broadcast(accelerator, total_steps)
    return note_plan(run, progress, total_steps, args.max_minutes)
