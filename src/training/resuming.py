"""What the loops of the trainers share: stopping on a signal, finding the checkpoint, rows of metrics."""

import argparse
import logging
import math
import signal
import sys
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from core.errors import UserError
from training.experiment import append_metrics

log = logging.getLogger("oral_units")

EXIT_STOPPED = 99  # stopped by a signal after saving: run again with --resume
# SIGTERM from Slurm, SIGUSR1 and SIGUSR2 from Grid Engine, before it suspends and before it kills.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def catch_stop_signals() -> list[int]:
    """A list that fills when a scheduler's signal arrives, so that the loop stops where it can save."""
    received: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda caught, _: received.append(caught))
    return received


def exit_on_stop_signals() -> None:
    """Until the loop begins there is nothing to save: such a signal ends the run at once, to be started again."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda caught, _: sys.exit(EXIT_STOPPED))


def find_checkpoint(args: argparse.Namespace, exp: Path) -> Path | None:
    """The checkpoint to go on from: --resume's PATH, else latest.pt where there is one."""
    if args.resume not in (None, "auto", "latest"):
        return Path(args.resume)
    latest = exp / "checkpoints" / "latest.pt"
    return latest if latest.exists() else None


def is_own(checkpoint: Path, exp: Path) -> bool:
    """Whether a run goes on from itself, not from another experiment's weights."""
    return checkpoint.resolve().is_relative_to(exp.resolve())


def check_borrowed(state: dict, path: Path, described: dict, total_steps: int | None) -> None:
    """Refuse another experiment's checkpoint of another model, or one that is past ``total_steps`` already.

    described: what this run's own checkpoints say of the model, of which an older one may lack a part.
    """
    for name, value in described.items():
        found = state.get(name)
        if isinstance(value, dict) and isinstance(found, dict):
            found = value | {key: known for key, known in found.items() if key in value}
        if found != value:
            raise UserError(f"{path}: expected a checkpoint of {name} {value}, found {found}; resume one of this model")
    if total_steps is not None and state["step"] >= total_steps:
        raise UserError(
            f"{path}: is at step {state['step']}, of {total_steps} planned here; give more --steps, which count from 0"
        )


def note_changes(state: dict, n_processes: int, precision: str) -> None:
    """Say what the stopped run's checkpoint ``state`` had otherwise, and the resumed run's bits will differ by."""
    now = {"threads": torch.get_num_threads(), "precision": precision, "processes": n_processes}
    for name, value in now.items():
        if state.get(name, value) != value:
            log.warning("%s: %s when stopped, %s now; results differ in the last bits", name, state[name], value)


def finite_means(exp: Path, step: int, rows: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """The mean of each loss, refusing NaN and Inf before anything is saved on top of them."""
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: torch.stack([row[name] for row in rows if name in row]).mean().item() for name in names}
    if not all(math.isfinite(value) for value in means.values()):
        raise UserError(
            f"{exp}: the loss is not finite at step {step} ({means}); checkpoints/latest.pt is intact: "
            "lower --lr, or do without bf16 or fp16 (--mixed_precision no)"
        )
    return means


def log_row(exp: Path, writer: SummaryWriter, step: int, seconds: float, values: dict[str, float]) -> None:
    """One row of metrics.jsonl and TensorBoard; ``seconds`` of training so far."""
    append_metrics(exp, {"step": step, "seconds": round(seconds, 3)} | values)
    for name, value in values.items():
        writer.add_scalar(name, value, step)
