"""The stages of phase 1, and which part of one a job does. Launchers read this too, so it loads no torch."""

import os

from core.errors import UserError

STAGES = ("sample", "fit", "assign", "merge")
ARRAY_STAGES = ("sample", "assign")  # those that several jobs share


def resolve_part(
    stage: str | None, n_shards: int | None, shard_index: int | None, *, overwrite: bool
) -> tuple[int, int]:
    """(shards, shard index) of ``--stage``, ``--shards`` and ``--shard_index``: (1, 0), all of it, without them.

    Raises UserError for a part that makes no sense.
    """
    if stage is None and (n_shards, shard_index) != (None, None):
        raise UserError(
            "--shards: expected --stage with it; "
            "python scripts/launch.py submit --shards N -- src/extract_units.py … submits every stage"
        )
    if stage and overwrite:
        raise UserError(
            "--overwrite: not with --stage, where each job would delete the work of the others; leave it out"
        )
    n_shards = 1 if n_shards is None else n_shards
    if n_shards < 1:
        raise UserError(f"--shards {n_shards}: expected a number above 0")
    if shard_index is None:
        shard_index = _array_index() if stage in ARRAY_STAGES and n_shards > 1 else 0
    if not 0 <= shard_index < n_shards:
        raise UserError(f"--shard_index {shard_index}: expected 0 to {n_shards - 1}, of --shards {n_shards}")
    return n_shards, shard_index


def _array_index() -> int:
    """This job's place in its array, as its number there says: a job that is run again alone keeps it."""
    for name, first in (("SLURM_ARRAY_TASK_ID", 0), ("SGE_TASK_ID", 1)):
        number = os.environ.get(name, "")
        if number.isdecimal():
            return int(number) - first
    raise UserError(
        "--shard_index: expected which shard this job is; give it, or start an array, where SLURM_ARRAY_TASK_ID "
        "(from 0) or SGE_TASK_ID (from 1) says it"
    )
