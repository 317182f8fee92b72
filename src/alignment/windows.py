"""Sound of any length in windows that overlap, in bounded memory. Axes: S samples at 16 kHz."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """Samples with some context; what is kept of it begins at ``start`` and the neighbours go on from its end."""

    waveform: np.ndarray  # (S,)
    start: int  # sample of the recording from which the window is kept
    lead: int  # samples of context before it
    kept: int  # samples


def overlapping_windows(blocks: Iterable[np.ndarray], hop: int, margin: int) -> Iterator[Window]:
    """Windows that keep ``hop`` samples each, with ``margin`` samples on either side where the recording has them."""
    held, begin, start = np.zeros(0, np.float32), 0, 0
    for block in blocks:
        held = np.concatenate([held, block])
        while begin + len(held) >= start + hop + margin:
            yield _cut(held, begin, start, hop, margin)
            start += hop
            dropped = max(0, start - margin - begin)
            held, begin = held[dropped:], begin + dropped
    while begin + len(held) > start:
        yield _cut(held, begin, start, min(hop, begin + len(held) - start), margin)
        start += hop


def _cut(held: np.ndarray, begin: int, start: int, kept: int, margin: int) -> Window:
    lead = min(margin, start - begin)
    first = start - begin - lead
    return Window(held[first : first + lead + kept + margin], start, lead, kept)
