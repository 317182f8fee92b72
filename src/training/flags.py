"""Flags that trainers have in common: when to stop, to look and to save, and on what to compute."""

import argparse

from core.cli import require_not_negative, require_positive


def add_patience_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--patience",
        "--early_stopping",
        type=int,
        default=0,
        help="stop after so many validations without gain; 0: never",
    )


def add_watching_flags(group: argparse._ArgumentGroup, *, log_every: int, eval_every: int, save_every: int) -> None:
    """Steps between rows, validations and checkpoints, with a trainer's own defaults."""
    group.add_argument(
        "--log_every", "--logging_steps", type=int, default=log_every, help="steps between rows of metrics.jsonl"
    )
    group.add_argument("--eval_every", "--eval_steps", type=int, default=eval_every, help="steps between validations")
    group.add_argument(
        "--save_every", "--save_steps", type=int, default=save_every, help="steps between writings of latest.pt"
    )


def add_validation_flag(group: argparse._ArgumentGroup, seconds: float) -> None:
    group.add_argument("--validation_seconds", type=float, default=seconds, help="seconds of the val split to judge on")


def add_machine_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--mixed_precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="autocast while training; auto: bf16 where the device computes in it",
    )
    group.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")


def settle_budget(args: argparse.Namespace, default_steps: int) -> None:
    """``default_steps`` where none of the flags of ``schedule.add_budget_flags`` is given."""
    if args.steps is None and args.epochs is None and args.max_minutes is None:
        args.steps = default_steps


def check_training_flags(args: argparse.Namespace) -> None:
    """Refuse numbers that no training can have."""
    require_positive(args, "steps", "epochs", "max_minutes", "batch_size", "log_every", "eval_every", "save_every")
    require_not_negative(args, "patience", "warmup", "weight_decay", "lr", "clip", "seed")
