"""Decisions that all processes of a training take together."""

import torch

from accelerate import Accelerator


def agree(accelerator: Accelerator, flag: bool) -> bool:
    """True where any process says so: all of them leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.gather(torch.tensor([float(flag)], device=accelerator.device))
    return bool(flags.max().item())


def mean_over_processes(accelerator: Accelerator, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean of each scalar over all processes, on every process, detached."""
    if accelerator.num_processes == 1:
        return {name: value.detach() for name, value in values.items()}
    means = accelerator.reduce(torch.stack([value.detach().float() for value in values.values()]), "mean")
    return dict(zip(values, means.unbind()))


def broadcast(accelerator: Accelerator, value: int) -> int:
    """Rank 0's value on every process."""
    if accelerator.num_processes == 1:
        return value
    return int(accelerator.gather(torch.tensor([value], device=accelerator.device))[0].item())
