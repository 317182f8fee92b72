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


def calibrate(args: argparse.Namespace, step_seconds: list[float], evaluation_seconds: float, spent: float) -> int:
    """--max_minutes as steps: what is left of the budget over the time a step takes with its share of the rest."""
    seconds = float(np.median(step_seconds)) + evaluation_seconds / args.eval_every
    return max(args.warmup, int((60 * args.max_minutes - spent) / seconds))


def is_adversarial(step: int, total: int | None, after: float | None) -> bool:
    """Whether the discriminator takes part at ``step``: a function of the step and the plan alone."""
    if after is None or (after < 1 and total is None):
        return False
    return step >= (after * total if after < 1 else after)
