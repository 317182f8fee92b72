"""What a job asks of Grid Engine's complexes: time, memory, GPUs; their names and how they count differ by site."""

import math

from core.errors import UserError
from launching.job import Resources
from launching.scheduler_queries import ask
from launching.site import Site

# The command is told to save so long before the end; a quarter of the limit where that is shorter.
SIGNAL_SECONDS = 120


def requests_of(resources: Resources, site: Site) -> list[str]:
    """Complexes: hard and soft limit of the time, memory, GPUs, and the constraint as it stands."""
    requests = []
    if resources.hours:
        seconds = max(1, round(resources.hours * 3600))
        requests.append(f"h_rt={seconds},s_rt={seconds - min(SIGNAL_SECONDS, seconds // 4)}")
    if resources.memory_gb:
        requests.append(f"{site.memory_complex}={_memory_mib(resources, site)}M")
    if resources.gpus:
        requests.append(f"{site.gpu_complex}={_gpus_a_slot(resources, site.gpu_complex)}")
    if (kind := resources.gpu_type) and not site.gpu_type_complex:
        raise UserError(
            f"--gpus {kind}:{resources.gpus}: which complex of Grid Engine holds the type of a GPU is not known; "
            f"set gpu_type_complex in cluster.toml, or give --gpus {resources.gpus} --constraint gpu_type={kind}"
        )
    if resources.gpu_type:
        requests.append(f"{site.gpu_type_complex}={resources.gpu_type}")
    return requests + ([resources.constraint] if resources.constraint else [])


def _memory_mib(resources: Resources, site: Site) -> int:
    """What to ask of the memory's complex: the job's, or, where a site counts it by slots, a slot's share."""
    per_slot = site.memory_per_slot
    if per_slot is None:
        per_slot = consumable(site.memory_complex) == "YES"
    return math.ceil(resources.memory_gb * 1024 / (resources.cpus if per_slot else 1))


def _gpus_a_slot(resources: Resources, name: str) -> int:
    """What to ask of the complex of GPUs: the job's number, or, where a site counts it by slots, a slot's share."""
    n_gpus, n_slots = resources.gpus, resources.cpus
    if consumable(name) != "YES":
        return n_gpus
    share, rest = divmod(n_gpus, n_slots)
    if rest:
        raise UserError(
            f"--gpus {n_gpus} --cpus {n_slots}: here the complex {name} counts once for each slot "
            "(qconf -sc: consumable YES); give as many --cpus as --gpus, or ask for consumable JOB"
        )
    return share


def cpus_per_gpu(site: Site) -> int:
    """Cores for each GPU where none were asked for: one where the site counts GPUs by slots."""
    return 1 if consumable(site.gpu_complex) == "YES" else site.cpus_per_gpu


def consumable(name: str) -> str | None:
    """The column consumable of a complex: "JOB" or "YES"; None where there is none, or nobody to ask."""
    rows = [line.split() for line in ask("qconf", "-sc").splitlines() if line and not line.startswith("#")]
    return next((row[5] for row in rows if len(row) > 5 and name in row[:2]), None)
