"""Schedules: functions of the step and the planned number of steps alone."""

import argparse
import bisect
import math

import numpy as np

# Regression alone gains up to about this step (LOG.md); a discriminator before it costs words.
REGRESSION_STEPS = 1200
ADVERSARIAL_SHARE = 0.4


def learning_rate(step: int, total: int | None, peak: float, warmup: int, *, start: float = 0) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak at ``total`` steps.

    start: the step at which the model begins to learn, and its warm-up with it; before it the rate is 0.
    """
    warm = min(1.0, max(0.0, step - start + 1) / max(1, warmup))
    progress = min(1.0, step / total) if total else 0.0
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def add_budget_flags(parser: argparse.ArgumentParser, default_steps: int) -> None:
    """``--steps``, ``--epochs`` and ``--max_minutes``: one of them says how long to train."""
    group = parser.add_argument_group(f"budget (one of; default: --steps {default_steps})")
    budget = group.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=None, help="updates of the weights")
    budget.add_argument("--epochs", type=float, default=None, help="passes over the training split")
    budget.add_argument(
        "--max_minutes", type=float, default=None, help="wall time; becomes a number of steps after a short calibration"
    )


def plan_steps(steps: int | None, epochs: float | None, *, n_items: int, batch_size: int) -> int | None:
    """The number of steps that --steps or --epochs stand for; None while --max_minutes waits for its calibration."""
    if epochs is not None:
        return max(1, math.ceil(epochs * n_items / batch_size))
    return steps


def calibrate(
    left: float,
    step_seconds: list[float],
    evaluation_seconds: float,
    eval_every: int,
    *,
    step: int = 0,
    judgement_seconds: float = 0.0,
    adversarial_after: float | None = 1,
) -> int:
    """How many more steps than ``step`` a budget of ``left`` seconds holds, a last validation included; at least one.

    ``step_seconds`` are those of single steps, timed without a discriminator; ``judgement_seconds`` is what it adds to
    a step, once it takes part. ``adversarial_after`` is that of ``adversarial_start``: steps taken already count.
    """
    plain = float(np.median(step_seconds)) + evaluation_seconds / eval_every
    left -= evaluation_seconds

    def seconds(more: int) -> float:
        judged = step + more - max(step, adversarial_start(step + more, adversarial_after))
        return more * plain + max(0.0, judged) * judgement_seconds

    return max(1, bisect.bisect_right(range(1, max(1, int(left / plain)) + 1), left, key=seconds))


def adversarial_start(total: int | None, after: float | None) -> float:
    """The step at which the discriminator begins: ``after`` itself, or that share of ``total`` steps; 1: never.

    None: at ``ADVERSARIAL_SHARE`` of the steps, but not before ``REGRESSION_STEPS``; short runs then have none at all.
    """
    if after is not None and after >= 1:
        return after if after > 1 else math.inf
    if total is None:
        return math.inf
    return max(ADVERSARIAL_SHARE * total, REGRESSION_STEPS) if after is None else after * total


def is_adversarial(step: int, total: int | None, after: float | None) -> bool:
    """Whether the discriminator takes part at ``step``: a function of the step and the plan alone."""
    return step >= adversarial_start(total, after)
