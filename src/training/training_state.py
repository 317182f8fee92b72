"""Where a training stands: what changes from step to step, what is due, and the same restored from a checkpoint.

``Progress`` is immutable: every function that moves a training on returns another one.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from core.errors import UserError

Losses = dict[str, torch.Tensor]  # scalars of one step, by name


class Progress(NamedTuple):
    """Where a training stands: what changes from step to step, and is restored from a checkpoint."""

    step: int = 0  # updates so far
    total_steps: int | None = None  # None while --max_minutes waits for its calibration
    best: float | tuple[float, ...] = math.inf  # score of the best validation so far; lower is better
    stale: int = 0  # validations since then
    validated: int = 0  # step of the last validation
    since_log: Sequence[Losses] = ()  # of every step since the last row
    seconds: float = 0.0  # of training until the last checkpoint


def restore_progress(
    state: Mapping[str, object],
    planned: Progress,
    *,
    own: bool,
    keep_plan: bool = False,
    device: str | torch.device = "cpu",
) -> Progress:
    """Where the training of a checkpoint stood, for one that has ``planned`` its steps.

    Another experiment's (not ``own``) gives its step alone: its best and its seconds are not this run's. keep_plan: the
    number of steps is the checkpoint's too, since --max_minutes has been turned into steps once.
    """
    saved = Progress(**{name: state[name] for name in Progress._fields if name in state})
    since_log = [{name: value.to(device) for name, value in row.items()} for row in saved.since_log]
    validated = saved.validated if "validated" in state else state.get("evaluated", saved.step)
    progress = planned._replace(step=saved.step, since_log=since_log, validated=validated)
    if not own:
        return progress
    best = tuple(saved.best) if isinstance(saved.best, list) else saved.best
    total_steps = saved.total_steps if keep_plan else planned.total_steps
    return progress._replace(best=best, stale=saved.stale, seconds=saved.seconds, total_steps=total_steps)


def is_last(progress: Progress) -> bool:
    """Whether all planned steps are done."""
    return progress.total_steps is not None and progress.step >= progress.total_steps


def is_due(progress: Progress, every: int, *, since: int = 0, ending: bool = False) -> bool:
    """Whether what falls to every so many steps, and to the end, falls to this one; not twice at the step ``since``."""
    return progress.step > since and (ending or progress.step % every == 0)


def note_validation(progress: Progress, score: float | tuple[float, ...]) -> Progress:
    """After a validation: ``stale`` is 0 where it is the best so far, and else one more than before."""
    if score < progress.best:
        return progress._replace(best=score, stale=0, validated=progress.step)
    return progress._replace(stale=progress.stale + 1, validated=progress.step)


def has_stalled(progress: Progress, patience: int, *, since: float = 0) -> bool:
    """Whether the last ``patience`` validations have brought nothing (0: never), once the training is past ``since``.

    since: the step at which what is to be trained begins to learn; what comes before it must not end the training.
    """
    return bool(patience) and progress.step > since and progress.stale >= patience


def finite_means(exp: Path, progress: Progress) -> dict[str, float]:
    """The mean of each loss since the last row, refusing NaN and Inf before anything is saved on top of them."""
    names = dict.fromkeys(name for row in progress.since_log for name in row)
    means = {
        name: torch.stack([row[name] for row in progress.since_log if name in row]).mean().item() for name in names
    }
    if not all(math.isfinite(value) for value in means.values()):
        raise UserError(
            f"{exp}: the loss is not finite at step {progress.step} ({means}); checkpoints/latest.pt is intact: "
            "lower --lr, or do without bf16 or fp16 (--mixed_precision no)"
        )
    return means
