"""What a generator costs: multiplications, time, memory.

Multiply-accumulates are counted by torch's FlopCounterMode (convolutions and matrix products, from the shapes they are
called with) plus FFTs at the usual estimate of 2.5 N log2 N operations for N real samples, half of them counted as one
multiply-accumulate each. Element-wise work (activations, windows, the excitation) is not counted.
"""

import contextlib
import itertools
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from comparison_tables import Cost, Spoken
from core.device import has_fast_bf16, peak_gpu_mib, wait_for
from core.errors import UserError
from core.frames import UNIT_RATE
from vocoder.generators import build_generator
from vocoder.synthesis import speak

REAL_FFT = 2.5
WARMING_TURNS = 2  # of speaking, before any is timed


def count_parameters(generator: nn.Module) -> int:
    return sum(parameter.numel() for parameter in generator.parameters())


def random_input(n_units: int, n_streams: int, seconds: float, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Units (1, F, N), F0 (1, F) of 100 to 200 Hz with a fifth unvoiced, no speaker, a noise key: for ``speak``."""
    random, n_frames = torch.Generator().manual_seed(0), round(seconds * UNIT_RATE)
    units = torch.randint(0, n_units, (1, n_frames, n_streams), generator=random)
    f0 = 100 + 100 * torch.rand(1, n_frames, generator=random)
    f0[:, ::5] = 0
    return units.to(device), f0.to(device), None, torch.tensor([0], device=device)


def count_macs(model: nn.Module, *inputs: torch.Tensor | None) -> float:
    """Multiply-accumulates of ``model(*inputs)``."""
    transforms = {torch.ops.aten._fft_r2c: _fft_flops, torch.ops.aten._fft_c2r: _fft_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=transforms) as counter:
        model(*inputs)
    return counter.get_total_flops() / 2


def _fft_flops(shape: torch.Size, dims: list[int], *_: object, out_shape: torch.Size, **__: object) -> int:
    """A real transform of N samples along one axis: N is the longer side, the other has N / 2 + 1 bins."""
    n = max(shape[dims[-1]], out_shape[dims[-1]])
    return round(math.prod(shape) / shape[dims[-1]] * REAL_FFT * n * math.log2(n))


def macs_a_second(generator: nn.Module, n_units: int, n_streams: int) -> float:
    """Multiply-accumulates that one more second of speech costs, margins at the ends left out."""
    one, two = (count_macs(generator, *random_input(n_units, n_streams, seconds)[:2]) for seconds in (1, 2))
    return two - one


def fuse_weight_norm(generator: nn.Module) -> nn.Module:
    """Replace normalised weights by their values, in place, as one does before using a HiFi-GAN."""
    for module in generator.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return generator


@torch.inference_mode()
def synthesis_seconds(
    generator: nn.Module,
    inputs: tuple[torch.Tensor | None, ...],
    *,
    bf16: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of speaking ``inputs`` once, noise included."""
    device = inputs[0].device
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
    started = clock()
    with autocast:
        speak(generator, *inputs)
    wait_for(device)
    return clock() - started


def measure_alone(version: str, sizes: dict[str, int], seconds: float, device: str) -> Cost:
    """Parameters, cost, and memory (on a GPU: the GPU's) of speaking once, in a process of its own."""
    torch.set_num_threads(1)
    generator = build_generator(version, sizes).eval().to(device)
    n_units, n_streams = (sizes[key] for key in ("n_units", "n_streams"))
    inputs = random_input(n_units, n_streams, seconds, device)
    n_parameters = count_parameters(generator)
    synthesis_seconds(fuse_weight_norm(generator), inputs, bf16=False)
    peak = peak_memory_mib() if device == "cpu" else peak_gpu_mib()
    gmac = macs_a_second(generator.cpu(), n_units, n_streams) / 1e9
    return Cost(n_parameters, gmac, peak, sizes.get("channels"))


def measure_synthesis(
    systems: dict[str, tuple[str, dict[str, int]]],
    seconds: float,
    *,
    repetitions: int,
    device: str,
    threads: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Spoken]:
    """{"2 bf16": × real time of every repetition by system}; every system has its turn in every repetition.

    systems: version and sizes of each, by name. The ways are cores and precision, or on a GPU the device and precision.
    """
    precisions = ("fp32", "bf16") if has_fast_bf16(device) else ("fp32",)
    cores = [n for n in threads if n <= (os.cpu_count() or 1)]
    ways = list(itertools.product(cores if device == "cpu" else [device], precisions))
    generators = {n: fuse_weight_norm(build_generator(*system).eval()).to(device) for n, system in systems.items()}
    inputs = {
        n: random_input(sizes["n_units"], sizes["n_streams"], seconds, device) for n, (_, sizes) in systems.items()
    }
    found = {f"{where} {precision}": {name: [] for name in systems} for where, precision in ways}
    for repetition in range(-WARMING_TURNS, repetitions):
        for (where, precision), name in itertools.product(ways, systems):
            torch.set_num_threads(where if device == "cpu" else 1)
            took = synthesis_seconds(generators[name], inputs[name], bf16=precision == "bf16", clock=clock)
            if repetition >= 0:
                found[f"{where} {precision}"][name].append(seconds / took)
    return found


def peak_memory_mib() -> float:
    """The most memory this process has held at once (MiB, resident)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike getrusage, it does not begin with the memory of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def run_measured(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run ``command``: {"peak_mib" (resident), "cpu_seconds", "wall_seconds"}. Raises UserError where it fails."""
    started = time.monotonic()
    process = os.posix_spawn(command[0], command, environment)
    _, status, usage = os.wait4(process, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise UserError(f"{' '.join(command)}: exit code {code}; see its message above, then run this again")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    cpu = usage.ru_utime + usage.ru_stime
    return {"peak_mib": peak, "cpu_seconds": cpu, "wall_seconds": time.monotonic() - started}
