"""Short real transforms as two real planes, which ONNX can hold too.

ONNX has no complex numbers. While a model is exported to it, the transforms are matrix products.

Axes: N samples of a window, K = N / 2 + 1 bins.
"""

import math

import torch


def analyse(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, N) float -> real and imaginary part of its spectrum, (…, K) each."""
    if torch.onnx.is_in_onnx_export():
        cosine, sine = _waves(windows)
        return windows @ cosine.T, windows @ -sine.T
    spectrum = torch.fft.rfft(windows)
    return spectrum.real, spectrum.imag


def synthesise(real: torch.Tensor, imaginary: torch.Tensor) -> torch.Tensor:
    """Real and imaginary part (…, K) -> (…, N) float, N = 2 K - 2; the inverse of ``analyse``."""
    if torch.onnx.is_in_onnx_export():
        cosine, sine = _waves(real, 2 * real.shape[-1] - 2)
        share = torch.full((real.shape[-1], 1), 2 / cosine.shape[1])
        share[0] = share[-1] = 1 / cosine.shape[1]
        return real @ (cosine * share) - imaginary @ (sine * share)
    return torch.fft.irfft(torch.complex(real, imaginary))


def _waves(like: torch.Tensor, n: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, N) cosines and sines of every bin, in the type of ``like``, whose last axis is N where ``n`` is not given."""
    n = int(n or like.shape[-1])
    # Counted in whole steps of the circle, so that no angle is large.
    steps = torch.arange(n // 2 + 1)[:, None] * torch.arange(n)[None] % n
    angle = 2 * math.pi * steps.double() / n
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)
