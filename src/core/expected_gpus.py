"""A job that asked for GPUs does not go on without them: a processor at a GPU's price helps nobody."""

import os

from core.errors import UserError

EXPECTED_GPUS = "ORAL_UNITS_GPUS"  # launchers set it in jobs that hold GPUs


def refuse_lost_gpus(found: int) -> None:
    """UserError where the job that this process runs in asked for more GPUs than PyTorch found."""
    expected = int(os.environ.get(EXPECTED_GPUS) or 0)
    if found < expected:
        raise UserError(
            f"expected {expected} GPU{'s' if expected > 1 else ''}, as the job asked for, found {found}; "
            "submit it again, without a GPU if it needs none (--cpu or --device cpu goes on with the processor)"
        )
