"""What the processor can do."""

import torch


def has_fast_bf16(device: str | torch.device) -> bool:
    """Whether ``device`` computes in bf16 itself; emulated bf16 is slower than fp32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_precision(precision: str, *, cpu: bool = False) -> str:
    """Accelerate's ``mixed_precision``: "auto" is bf16 where the device computes in it, else "no"."""
    if precision != "auto":
        return precision
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    return "bf16" if has_fast_bf16(device) else "no"
