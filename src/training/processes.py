"""Decisions that all processes of a training take together, and the update of weights that all make alike."""

import datetime
import os
from collections.abc import Iterable, Sequence

import torch

from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.optimizer import AcceleratedOptimizer

from core.errors import UserError
from core.expected_gpus import refuse_lost_gpus

PATIENCE = datetime.timedelta(hours=2)  # the others wait so long while the first computes F0 or validates
LEAST_LOSS_SCALE = 2.0**-10  # fp16's is 65536 at first and halved at every overflow


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
