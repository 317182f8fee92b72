"""Decisions that all processes of a training take together, and the update of weights that all make alike."""

import datetime
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import gather_object

from core.errors import UserError
from core.expected_gpus import refuse_lost_gpus

PATIENCE = datetime.timedelta(hours=2)  # the others wait so long while the first computes F0 or validates
LEAST_LOSS_SCALE = 2.0**-10  # fp16's is 65536 at first and halved at every overflow

# What ``accelerate config`` may ask for by variables of its own, and the trainers do not do.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}


def refuse_sharding(environment: Mapping[str, str]) -> None:
    """UserError where Accelerate's configuration asks for what the trainers would otherwise ignore.

    Every process holds the whole model: what is trained is small, and a frozen LLM may be held in 4 bits.
    """
    asked = [name for key, name in SHARDING.items() if environment.get(key, "false").lower() in ("true", "1", "yes")]
    if asked:
        raise UserError(
            f"{asked[0]}: expected processes that each hold the whole model, found {asked[0]} in Accelerate's "
            "configuration; answer no to it in 'accelerate config' (for a large LLM there is --llm_bits 4)"
        )
    steps = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("1", "auto"):
        raise UserError(
            f"gradient_accumulation_steps {steps}: found in Accelerate's configuration, where no trainer looks; "
            "set it to 1 there (speech to text has --gradient_accumulation_steps)"
        )


def launched_processes() -> int:
    """How many torchrun, accelerate launch or MPI started: known before any of them has met the others."""
    return max(int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))


def start_accelerator(
    precision: str = "no", *, cpu: bool = False, patience: datetime.timedelta = PATIENCE, handlers: Sequence = ()
) -> Accelerator:
    """Accelerate's state, with all processes that were launched; ``patience``: how long they wait for one another.

    With fp16 also a loss scale on a CPU, where Accelerate would leave both out in silence. UserError where the
    processes do not meet: each would do all the work, in the same folder; and where a job's GPUs are not there.
    """
    refuse_sharding(os.environ)
    if not cpu:
        refuse_lost_gpus(torch.cuda.device_count())
    # Left to itself, Accelerate takes the processes of a machine without a GPU for so many runs of one.
    cpu = cpu or not torch.accelerator.is_available()
    kwargs = [InitProcessGroupKwargs(timeout=patience), *handlers]
    accelerator = Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=kwargs)
    if accelerator.num_processes != launched_processes():
        raise UserError(
            f"expected {launched_processes()} processes to work together, as many as were launched, found "
            f"{accelerator.num_processes} on {accelerator.device}; launch one, or give --cpu"
        )
    if precision == "fp16" and accelerator.device.type == "cpu":
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
    return accelerator


def update_weights(
    accelerator: Accelerator,
    parameters: Iterable[torch.nn.Parameter],
    optimizer: AcceleratedOptimizer,
    loss: torch.Tensor,
    clip: float,
) -> dict[str, torch.Tensor]:
    """One update of one of several models: {"gradient_norm": before clipping}, or {} where fp16 overflowed.

    Accelerate's own clipping unscales the gradients of all optimizers, whether they are of this update or not.
    """
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.unscale_gradients(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    if not optimizer.step_was_skipped:
        return {"gradient_norm": norm.detach()}
    if accelerator.scaler.get_scale() < LEAST_LOSS_SCALE:
        raise UserError("fp16 overflows at every step; lower --lr, or give --mixed_precision no")
    return {}


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is true in any process; all get the same answer, and leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.gather(torch.tensor([float(flag)], device=accelerator.device))
    return bool(flags.max().item())


def mean_over_processes(accelerator: Accelerator, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean of each scalar over all processes, on every process, detached."""
    if accelerator.num_processes == 1:
        return {name: value.detach() for name, value in values.items()}
    means = average(accelerator, torch.stack([value.detach().float() for value in values.values()]))
    return dict(zip(values, means.unbind()))


def average(accelerator: Accelerator, values: torch.Tensor) -> torch.Tensor:
    """The mean over all processes, on every process; no gradient passes through."""
    return values if accelerator.num_processes == 1 else accelerator.reduce(values.detach(), "mean")


def broadcast(accelerator: Accelerator, value: int) -> int:
    """Rank 0's value on every process."""
    if accelerator.num_processes == 1:
        return value
    return int(accelerator.gather(torch.tensor([value], device=accelerator.device))[0].item())


def least(accelerator: Accelerator, value: int) -> int:
    """The least value of all processes, on every process."""
    if accelerator.num_processes == 1:
        return value
    return int(accelerator.gather(torch.tensor([value], device=accelerator.device)).min().item())


class Team(NamedTuple):
    """The processes that share some work, as one of them sees it; by default one alone."""

    rank: int = 0
    size: int = 1
    gather: Callable[[list], list] = list  # the lists of all processes, one behind the other
    wait: Callable[[], None] = lambda: None  # until all are here


ALONE = Team()


def open_team(accelerator: Accelerator) -> Team:
    if accelerator.num_processes == 1:
        return ALONE
    return Team(accelerator.process_index, accelerator.num_processes, gather_object, accelerator.wait_for_everyone)


def map_in_team(team: Team, work: Callable, jobs: Sequence) -> list:
    """``work(job)`` of every job in their order, on every process, though each job was done by one alone."""
    done = [(place, work(jobs[place])) for place in range(team.rank, len(jobs), team.size)]
    return [found for _, found in sorted(team.gather(done), key=lambda pair: pair[0])]
