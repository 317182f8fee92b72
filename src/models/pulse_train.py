"""The harmonic excitation: a band-limited pulse train that follows F0."""

import torch
import torch.nn.functional as F


def upsample_f0(f0: torch.Tensor, hop: int) -> torch.Tensor:
    """(B, F) Hz at frames to (B, F * hop) Hz at samples: linear between voiced frames, 0 in unvoiced ones."""
    voiced = (f0 > 0).to(f0.dtype)
    weights = _interpolate(voiced, hop)
    return _interpolate(f0 * voiced, hop) / weights.clamp_min(1e-6) * voiced.repeat_interleave(hop, dim=1)


def _interpolate(values: torch.Tensor, hop: int) -> torch.Tensor:
    """Linear between frame centres: (B, F) -> (B, F * hop).

    With one set of weights for every frame, so that a chunk equals its part of the whole: torch's own interpolation
    counts positions in float32, which drifts within minutes.
    """
    position = (torch.arange(hop, device=values.device, dtype=values.dtype) + 0.5) / hop - 0.5
    before, after = F.pad(values[:, None], (1, 1), mode="replicate")[:, 0].unfold(1, 3, 1).unbind(2)[::2]
    towards_before = (-position).clamp_min(0) * (before - values)[..., None]
    towards_after = position.clamp_min(0) * (after - values)[..., None]
    return (values[..., None] + towards_before + towards_after).flatten(1)


def pulse_train(
    f0: torch.Tensor, *, hop: int, sample_rate: int, phase: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Harmonics 1 to floor(Nyquist / F0) in cosine phase, scaled to unit power; zero where unvoiced.

    f0: (B, F) Hz, 0 = unvoiced; phase: (B,) float64 cycles before the first sample (default 0).
    Returns (B, F * hop) in f0's type and the phase (B,) after the last sample. The sum of K cosines in closed form is
    the Dirichlet kernel: sin((K + 1/2) x) / (2 sin(x / 2)) - 1/2.
    """
    samples_f0 = upsample_f0(f0, hop)
    # float32 phase drifts by whole periods within minutes, hence float64 and wrapping.
    cycles = torch.cumsum(samples_f0.double() / sample_rate, dim=1)
    if phase is not None:
        cycles = cycles + phase[:, None]
    # Centred on the pulse, where the kernel is steepest and float32 then finest.
    angle = (2 * torch.pi * (cycles - torch.round(cycles))).to(f0.dtype)
    n_harmonics = torch.floor(sample_rate / 2 / samples_f0.clamp_min(1.0)).clamp_min(1.0)
    half_sine = torch.sin(angle / 2)
    near_pulse = half_sine.abs() < 1e-4
    kernel = torch.sin((n_harmonics + 0.5) * angle) / torch.where(near_pulse, torch.ones_like(angle), 2 * half_sine)
    kernel = torch.where(near_pulse, n_harmonics + 0.5, kernel) - 0.5
    pulses = kernel * torch.sqrt(2.0 / n_harmonics) * (samples_f0 > 0)
    return pulses, cycles[:, -1] % 1.0


def framewise_pulse_train(
    f0: torch.Tensor, *, hop: int, sample_rate: int, phase: torch.Tensor | None = None
) -> torch.Tensor:
    """``pulse_train`` at a third of its cost: (B, F) Hz -> (B, F * hop).

    F0 is linear in each half of a frame, so the cycles since the frame's start are a product of three numbers a frame
    with a fixed matrix, and only frames are summed up. The number of harmonics is one a frame.
    """
    voiced = f0 > 0
    before, after = (torch.where(near > 0, near, f0) for near in (_shift(f0, 1), _shift(f0, -1)))
    # Per sample: F0 of the frame, then what lies between it and its neighbours.
    hertz = (torch.stack([f0, before - f0, after - f0], dim=-1) * voiced[..., None]).double()
    inside = hertz @ (_half_ramps(hop, f0.device) / sample_rate)
    start = torch.cumsum(inside[..., -1], dim=1) - inside[..., -1]
    if phase is not None:
        start = start + phase[:, None]
    cycles = inside + start[..., None]
    # The kernel is even. At 0 exactly it would be 0 / 0; beside it, float32 sines keep their ratio.
    angle = (cycles - torch.round(cycles)).to(f0.dtype).abs().mul(2 * torch.pi).clamp_min(1e-6)
    highest = torch.maximum(f0, torch.maximum(before + f0, after + f0) / 2)
    n_harmonics = torch.floor(sample_rate / 2 / highest.clamp_min(1.0)).clamp_min(1.0)[..., None]
    power = torch.sqrt(2.0 / n_harmonics) * voiced[..., None]
    kernel = torch.sin((n_harmonics + 0.5) * angle) / torch.sin(angle / 2)
    return (kernel * (power / 2) - power / 2).flatten(1)


def _shift(f0: torch.Tensor, by: int) -> torch.Tensor:
    """(B, F): the value of the frame ``by`` frames before; 0 beyond the ends."""
    return F.pad(f0, (by, -by))


def _half_ramps(hop: int, device: torch.device) -> torch.Tensor:
    """(3, hop) float64, sums up to each sample of: 1, the weight of the frame before, that of the frame after."""
    position = (torch.arange(hop, device=device, dtype=torch.float64) + 0.5) / hop - 0.5
    weights = torch.stack([torch.ones_like(position), (-position).clamp_min(0), position.clamp_min(0)])
    return torch.cumsum(weights, dim=1)
