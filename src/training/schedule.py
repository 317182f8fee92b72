"""Schedules: functions of the step and the planned number of steps alone."""

import argparse
import math

import numpy as np


def learning_rate(step: int, total: int | None, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak at ``total`` steps."""
    warm = min(1.0, (step + 1) / max(1, warmup))
    progress = min(1.0, step / total) if total else 0.0
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def plan_steps(args: argparse.Namespace, n_items: int) -> int | None:
    """The number of steps the budget stands for; None while --max_minutes waits for its calibration."""
    if args.epochs is not None:
        return max(1, math.ceil(args.epochs * n_items / args.batch_size))
    return args.steps


def calibrate(
    args: argparse.Namespace,
    step_seconds: list[float],
    judgement_seconds: float,
    evaluation_seconds: float,
    spent: float,
) -> int:
    """--max_minutes as steps: what is left before a last validation, over what a step takes with its share of the rest.

    ``judgement_seconds`` is what the discriminator adds to a step, once it takes part.
    """
    regression = float(np.median(step_seconds)) + evaluation_seconds / args.eval_every
    left = 60 * args.max_minutes - spent - evaluation_seconds
    if args.adversarial_after <= 1:
        return max(1, int(left / (regression + (1 - args.adversarial_after) * judgement_seconds)))
    free = min(left, args.adversarial_after * regression)
    return max(1, int(free / regression + (left - free) / (regression + judgement_seconds)))


def is_adversarial(step: int, total: int | None, after: float) -> bool:
    """Whether the discriminator takes part at ``step``: a function of the step and the plan alone."""
    if after >= 1:
        return after > 1 and step >= after
    return total is not None and step >= after * total
