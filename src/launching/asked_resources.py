"""What a job asks for: the flags as typed, then --engine_args, then the site's file, then what suits a GPU."""

from collections.abc import Collection

from core.errors import UserError
from launching.engine_args import EngineArgs, parse_gpus
from launching.job import CLUSTERS, DEFAULT_RESOURCES, Resources
from launching.sge_args import read_sge_args
from launching.sge_requests import cpus_per_gpu
from launching.site import Site
from launching.slurm_args import read_slurm_args

# Of the launcher's flags, those that an option of an engine may stand for.
TYPED_FLAGS = ("gpus", "memory_gb", "partition", "account", "constraint")


def ask_resources(
    backend: str, site: Site, typed: Resources, *, gpus: str | None = None, engine_args: str = ""
) -> Resources:
    """``typed``: the flags as given, None (cpus, processes: 0) where they were not; the two others as text.

    UserError where two of them say the same thing, or where the engine cannot obey.
    """
    n_gpus, gpu_type = parse_gpus(gpus) if gpus else (0, None)
    flags = {name.removesuffix("_gb") for name in TYPED_FLAGS if getattr(typed, name)}
    flags |= ({"gpus"} if gpus else set()) | ({"gpu_type"} if gpu_type else set())
    by_hand = read_engine_args(backend, engine_args, site, flags)
    if by_hand.gpus is not None:
        n_gpus, gpu_type = by_hand.gpus, by_hand.gpu_type or gpu_type
    asked = typed._replace(
        gpus=n_gpus,
        gpu_type=gpu_type,
        engine_args=by_hand.options,
        processes=typed.processes or max(1, n_gpus),
        hours=typed.hours or (None if backend == "local" else DEFAULT_RESOURCES.hours),
    )
    if backend not in CLUSTERS:
        return _without_cluster(backend, asked)
    return _with_defaults(asked, _defaults(backend, site, n_gpus), by_hand.flags)


def _without_cluster(backend: str, asked: Resources) -> Resources:
    """On Modal, the type of a GPU is what --constraint says; this machine has what it has."""
    asked = asked._replace(cpus=asked.cpus or _cpus(asked.gpus, Site().cpus_per_gpu))
    if not asked.gpu_type:
        return asked
    title = f"--gpus {asked.gpu_type}:{asked.gpus}"
    if backend == "local":
        raise UserError(f"{title}: this machine has no scheduler that would choose; give the number alone")
    if asked.constraint:
        raise UserError(f"{title} and --constraint {asked.constraint}: both name the GPU; leave one out")
    return asked._replace(constraint=asked.gpu_type, gpu_type=None)


def _defaults(backend: str, site: Site, n_gpus: int) -> dict[str, object]:
    """What a site's jobs get where nothing was typed."""
    a_gpu = cpus_per_gpu(site) if backend == "sge" and n_gpus else site.cpus_per_gpu
    return {
        "cpus": _cpus(n_gpus, a_gpu),
        "memory_gb": n_gpus * site.memory_per_gpu or None,
        "partition": (site.gpu_partition if n_gpus else "") or site.partition or None,
        "account": site.account or None,
    }


def _cpus(n_gpus: int, a_gpu: int) -> int:
    return max(1, n_gpus * a_gpu)


def _with_defaults(asked: Resources, defaults: dict[str, object], by_hand: Collection[str]) -> Resources:
    """``by_hand``: flags that an option of --engine_args stands for, whose default would contradict it."""
    missing = [name for name in defaults if not getattr(asked, name) and name.removesuffix("_gb") not in by_hand]
    return asked._replace(**{name: defaults[name] for name in missing})


def read_engine_args(backend: str, text: str, site: Site, typed: Collection[str]) -> EngineArgs:
    """``text`` as typed -> options of the engine; ``typed``: names of the launcher's flags that were typed.

    UserError where an option says what a typed flag says, or what the launcher says for itself.
    """
    if backend == "slurm":
        return read_slurm_args(text, site.engine_args, frozenset(typed))
    if backend == "sge":
        return read_sge_args(text, site.engine_args, site, frozenset(typed))
    if text:
        raise UserError(f"--engine_args: goes to Slurm or Grid Engine, and {backend} is neither; leave it out")
    return EngineArgs()
