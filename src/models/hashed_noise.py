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
    hashed = _hash_places(keys, n_samples, start).to(torch.int64) & _MASK
    return (hashed.to(torch.float32) / 2.0**31 - 1.0) * 3.0**0.5


def hashed_rows(keys: torch.Tensor, n_places: int, n_rows: int, *, start: int = 0) -> torch.Tensor:
    """For places ``start`` to ``start + n_places`` of each utterance, one of ``n_rows`` rows, all as likely.

    keys: (B,) int64; n_rows: a power of 2. Returns (B, n_places) int64.
    """
    return _hash_places(keys, n_places, start).to(torch.int64) & (n_rows - 1)


def _hash_places(keys: torch.Tensor, n_places: int, start: int) -> torch.Tensor:
    """(B,) keys -> (B, n_places) int32."""
    # A start that is a tensor stays one: as_tensor would make a traced model warn of a constant.
    first = (start if isinstance(start, torch.Tensor) else torch.tensor(start)).to(torch.int32)
    index = torch.arange(n_places, device=keys.device, dtype=torch.int32) + first
    return _hash(_hash(keys.to(torch.int32))[:, None] ^ index[None])


def _hash(x: torch.Tensor) -> torch.Tensor:
    """int32 to int32, with half the memory traffic of int64: products wrap, masks drop the signs that shifts copy."""
    x = (x ^ (x >> 16 & 0xFFFF)) * 0x7FEB352D
    x = (x ^ (x >> 15 & 0x1FFFF)) * (0x846CA68B - 2**32)
    return x ^ (x >> 16 & 0xFFFF)
