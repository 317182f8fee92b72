"""What the processor can do."""

import argparse
import os

import torch

from core.errors import UserError
from core.expected_gpus import refuse_lost_gpus


def choose_device(name: str) -> str:
    """``name`` ("cpu", "cuda", "cuda:1"), or for "auto" a GPU where there is one; refuses what is not there.

    A job that asked for a GPU gets none other.
    """
    if name == "auto":
        refuse_lost_gpus(torch.cuda.device_count())
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdigit() or not number):
        raise UserError(f"--device {name}: expected cpu, cuda or cuda:1")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: found {torch.cuda.device_count()} GPUs; give --device cpu")
    return name


def has_fast_bf16(device: str | torch.device) -> bool:
    """Whether ``device`` computes in bf16 itself; emulated bf16 is slower than fp32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def add_deterministic_flag(group: argparse._ArgumentGroup) -> None:
    """--deterministic, of every trainer."""
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits from the same command on the same GPU, some slower; a CPU gives them anyway",
    )


def compute_deterministically(wanted: bool) -> None:
    """Where ``wanted``, let PyTorch take only kernels that add in one order, and refuse operations that have none."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def wait_for(device: str | torch.device) -> None:
    """Let a GPU finish what it was given: until then a clock has seen only the giving."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_gpu_mib() -> float:
    """The most memory of its GPU that this process has held in tensors at once (MiB)."""
    return torch.cuda.max_memory_allocated() / 2**20


def choose_precision(precision: str, *, cpu: bool = False, fp16: bool = False) -> str:
    """Accelerate's ``mixed_precision``: "auto" is bf16 where the device computes in it, else "no".

    fp16: the caller scales its loss, so "auto" is "fp16" on a GPU that does not compute in bf16.
    """
    if precision != "auto":
        return precision
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    if has_fast_bf16(device):
        return "bf16"
    return "fp16" if fp16 and device == "cuda" else "no"
