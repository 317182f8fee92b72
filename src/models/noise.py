"""Noise as a pure function of (key, absolute sample): chunks equal the whole, a batch equals its parts."""

import hashlib

import torch

_MASK = 0xFFFFFFFF


def noise_key(seed: int, name: str) -> int:
    """A 31-bit key for one utterance, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "little") >> 1


def hashed_noise(keys: torch.Tensor, n_samples: int, *, start: int = 0) -> torch.Tensor:
    """White noise of zero mean and unit variance, uniform, for samples ``start`` to ``start + n_samples``.

    keys: (B,) int64. Returns (B, n_samples) float32. A 32-bit integer hash (lowbias32, Chris Wellons, "Prospecting
    for hash functions", 2018) of the sample's index, whose stream the key offsets.
    """
    index = torch.arange(start, start + n_samples, device=keys.device, dtype=torch.int64)
    hashed = _hash(_hash(keys.to(torch.int64) & _MASK)[:, None] ^ (index[None] & _MASK))
    return (hashed.to(torch.float32) / 2.0**31 - 1.0) * 3.0**0.5


def _hash(x: torch.Tensor) -> torch.Tensor:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
