"""A shuffle that is a function: the place of item i among n, from the seed alone, with nothing held in memory.

A Feistel network permutes the numbers of an even number of bits; numbers beyond n are walked on until they lie inside
(Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). For order only, not for secrets.
"""

ROUNDS = 4
MASK = (1 << 64) - 1


def shuffled_place(item: int, n_items: int, *key: int) -> int:
    """Where ``item`` of 0 to ``n_items`` - 1 goes; for one ``key`` every place is taken once."""
    if not 0 <= item < n_items:
        raise IndexError(f"expected an item from 0 to {n_items - 1}, found {item}")
    half = max(1, ((n_items - 1).bit_length() + 1) // 2)
    seeds = _round_seeds(key)
    place = _permute(item, half, seeds)
    while place >= n_items:
        place = _permute(place, half, seeds)
    return place


def _round_seeds(key: tuple[int, ...]) -> list[int]:
    seed = 0
    for part in key:
        seed = _mix(seed ^ (part & MASK))
    return [_mix(seed + number) for number in range(1, ROUNDS + 1)]


def _permute(number: int, half: int, seeds: list[int]) -> int:
    """One of 2 * ``half`` bits -> another."""
    low = (1 << half) - 1
    left, right = number >> half, number & low
    for seed in seeds:
        left, right = right, left ^ (_mix(right ^ seed) & low)
    return left << half | right


def _mix(value: int) -> int:
    """64 bits -> 64 bits that look like others: the finaliser of splitmix64 (Steele, Lea & Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)
