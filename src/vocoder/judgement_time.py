"""What a discriminator will cost a step, before it takes part: for turning minutes into steps."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn

from core.device import wait_for
from training.training_state import Losses
from vocoder.recorded_step import WARM_CALLS, empty_recorder, take_step

N_TIMED = 3


def time_judgement(
    discriminator: nn.Module,
    waveforms: torch.Tensor,
    autocast: Callable[[], AbstractContextManager],
    *,
    by_graph: bool = False,
) -> float:
    """Seconds that judging originals (B, S) and as many resyntheses adds to a step; changes no weight.

    by_graph: as a CUDA graph, where steps are recorded as one.
    """

    def judge(originals: torch.Tensor) -> Losses:
        judged = torch.cat([originals, originals]).requires_grad_()
        with autocast():
            outputs = discriminator(judged)
        sum(features[-1].float().mean() for features in outputs).backward()
        return {}

    recorder, n_before = empty_recorder(), WARM_CALLS + 1 if by_graph else 0
    discriminator.eval()  # spectral norms keep their estimates
    seconds = []
    for _ in range(n_before + N_TIMED):
        clock = time.monotonic()
        if by_graph:
            take_step(recorder, "judgement", judge, [waveforms])
        else:
            judge(waveforms)
        wait_for(waveforms.device)
        seconds.append(time.monotonic() - clock)
    discriminator.zero_grad(set_to_none=True)
    discriminator.train()
    # Once for the discriminator's own update; the generator's, with gradients of the resyntheses alone, costs less.
    return 1.7 * min(seconds[n_before:])
