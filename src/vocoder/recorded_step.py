"""A step of training recorded once as a CUDA graph, and replayed from then on.

A GPU computes a step of a small voice faster than Python launches its kernels one after the other. A graph launches all
of them at once (docs/results/speed.md). What changes from step to step must lie in tensors that stay where they are:
the batch, the samples that the discriminator sees, the learning rates.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import torch

from training.training_state import Losses
from vocoder.train_step import Trained

log = logging.getLogger("oral_units")

WARM_CALLS = 3  # before a recording: kernels are chosen, and optimizers make their state

Step = Callable[..., Losses]


class Recording(NamedTuple):
    """A recorded step: where it reads its inputs, and where it leaves its losses."""

    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    losses: Losses


class Recorder(NamedTuple):
    """The steps recorded so far, by their kind; ``calls`` counts those computed before."""

    calls: Counter[Hashable]
    recordings: dict[Hashable, Recording]
    refused: list[str]  # why nothing more is recorded


def open_recorder(trained: Iterable[Trained]) -> Recorder:
    """A recorder for steps that update ``trained`` models, whose optimizers must lie on a GPU altogether.

    Call it after a checkpoint is loaded: its optimizers may have counted their updates on the CPU.
    """
    for each in trained:
        keep_rates_on_device(each)
    return empty_recorder()


def empty_recorder() -> Recorder:
    return Recorder(Counter(), {}, [])


def keep_rates_on_device(trained: Trained) -> None:
    """Learning rates and counts of updates as tensors beside the weights, where a recorded update reads them."""
    device = next(trained.model.parameters()).device
    for group in trained.optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
    for state in trained.optimizer.state.values():
        state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=device)


def take_step(recorder: Recorder, kind: Hashable, compute: Step, inputs: Sequence[torch.Tensor]) -> Losses:
    """``compute(*inputs)``, as a graph from its fourth call on; steps of another ``kind`` launch other kernels.

    inputs: of one shape in every call of a kind, on the GPU. Where recording fails, the log says so once, and steps are
    computed as without.
    """
    if kind in recorder.recordings:
        return replay(recorder.recordings[kind], inputs)
    if recorder.refused:
        return compute(*inputs)
    recorder.calls[kind] += 1
    if recorder.calls[kind] <= WARM_CALLS:
        return compute_beside(compute, inputs)
    try:
        recorder.recordings[kind] = record(compute, inputs)
    except RuntimeError as error:
        recorder.refused.append(str(error).splitlines()[0])
        log.warning("training without a CUDA graph, which is slower: %s", recorder.refused[0])
        torch.cuda.synchronize()
        return compute(*inputs)
    return replay(recorder.recordings[kind], inputs)


def compute_beside(compute: Step, inputs: Sequence[torch.Tensor]) -> Losses:
    """``compute(*inputs)`` on a stream of its own, as the warm-up of a recording has to be."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        losses = compute(*inputs)
    current.wait_stream(stream)
    return losses


def record(compute: Step, inputs: Sequence[torch.Tensor]) -> Recording:
    """The kernels of ``compute`` on copies of ``inputs``; nothing is computed yet."""
    graph, kept = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in inputs]
    # Threads that read recordings may do what they like meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        losses = compute(*kept)
    return Recording(graph, kept, losses)


def replay(recording: Recording, inputs: Sequence[torch.Tensor]) -> Losses:
    """The step on ``inputs``; its losses are copies, as the next replay writes to the same place."""
    for kept, tensor in zip(recording.inputs, inputs, strict=True):
        kept.copy_(tensor)
    recording.graph.replay()
    return {name: value.clone() for name, value in recording.losses.items()}
