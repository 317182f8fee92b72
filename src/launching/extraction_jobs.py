"""Phase 1 cut into jobs: the command lines of every stage, for arrays of Slurm and Grid Engine and for Modal's map."""

from collections.abc import Sequence

from core.errors import UserError
from launching.commands import flag_value
from launching.job import Resources
from units.extraction_parts import ARRAY_STAGES, STAGES

# Set here for each job, or, as --overwrite, something that each job of an array would do to the others.
REFUSED_FLAGS = ("--stage", "--shards", "--shard_index", "--overwrite")


def extraction_stages(command: Sequence[str], n_shards: int) -> list[list[list[str]]]:
    """Stages, one after the other, each a list of commands that may run at once; a command is a list of words.

    ``command`` is what a person would type, ``["src/extract_units.py", "--language", "satere", …]``, and stays the
    beginning of every command. The stages are ``n_shards`` samplers, one fit, ``n_shards`` assigners, one merge; with
    --kmeans there is nothing to sample. A stage may start when every command of the one before has ended with code 0.
    A command that failed is run again alone, as it stands. Together they write the bytes that ``command`` writes.
    """
    if n_shards < 1:
        raise UserError(f"--shards {n_shards}: expected a number above 0")
    names = {_flag_name(word) for word in command}
    for flag in REFUSED_FLAGS:
        if flag in names:
            raise UserError(f"{flag}: expected a command for all of phase 1; give the number of shards to the launcher")
    stages = [stage for stage in STAGES if not (stage == "sample" and "--kmeans" in names)]
    return [_stage_commands([*command], stage, n_shards) for stage in stages]


def shares_work(command: Sequence[str]) -> bool:
    """Whether a command is of a stage that many jobs share: those encode audio. The others need no GPU."""
    return flag_value(command, "stage") in ARRAY_STAGES


def stage_resources(resources: Resources, command: Sequence[str]) -> Resources:
    """What a stage asks of its engine: fit and merge are one process without a GPU, wherever there is room.

    It has the threads that each process of the whole has, because the last bits of a k-means depend on their number.
    """
    if shares_work(command):
        return resources
    cpus = max(1, resources.cpus // resources.processes)
    constraint = None if resources.gpus else resources.constraint  # it names a GPU
    return resources._replace(gpus=0, gpu_type=None, nodes=1, processes=1, cpus=cpus, constraint=constraint)


def _stage_commands(command: list[str], stage: str, n_shards: int) -> list[list[str]]:
    common = [*command, "--stage", stage, "--shards", str(n_shards)]
    if stage not in ARRAY_STAGES:
        return [common]
    return [[*common, "--shard_index", str(index)] for index in range(n_shards)]


def _flag_name(word: str) -> str:
    """``--shard-index=3`` -> ``--shard_index``; other words as they are."""
    return "--" + word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else word
