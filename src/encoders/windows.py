"""Windows over long signals and batches of similar lengths: index arithmetic in frames of 320 samples."""

from collections.abc import Sequence

import numpy as np
import torch

from core.frames import frames_to_samples

UNBOUNDED = 1 << 31  # frames: no limit on the length of the input


def slice_frames(waveform: np.ndarray, start: int, stop: int, *, left: int, right: int) -> np.ndarray:
    """The samples of frames ``start`` to ``stop`` with ``left`` and ``right`` samples of context.

    waveform: (S,) float32. Real samples where the signal has them, zeros outside it, so that the result holds exactly
    left + 320 * (stop - start) + right samples.
    """
    first, last = frames_to_samples(start) - left, frames_to_samples(stop) + right
    inside = waveform[max(first, 0) : max(last, 0)]
    before = max(-first, 0)
    return np.pad(inside, (before, last - first - before - len(inside)))


def stack_pieces(pieces: list[np.ndarray]) -> torch.Tensor:
    """(S,) float32 each -> (B, S) of the longest, the others with zeros behind them."""
    longest = max(map(len, pieces))
    return torch.from_numpy(np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces]))


def plan_windows(n_frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Windows of equal length that cover ``n_frames`` frames and overlap by at least ``overlap``: [(start, stop)].

    A signal that fits in one window gets one of its own length.
    """
    if n_frames <= window:
        return [(0, n_frames)]
    n_windows = -(-(n_frames - overlap) // (window - overlap))
    starts = [round(index * (n_frames - window) / (n_windows - 1)) for index in range(n_windows)]
    return [(start, start + window) for start in starts]


def stitch_windows(spans: Sequence[tuple[int, int]], features: Sequence[np.ndarray]) -> np.ndarray:
    """One (F, D) array from the (stop - start, D) features of ``plan_windows``' spans.

    Neighbours change over in the middle of their overlap, where both have the most context.
    """
    cuts = [(left[1] + right[0]) // 2 for left, right in zip(spans[:-1], spans[1:])]
    kept = zip([spans[0][0], *cuts], [*cuts, spans[-1][1]])
    return np.concatenate(
        [piece[first - span[0] : last - span[0]] for (first, last), span, piece in zip(kept, spans, features)]
    )


def plan_batches(lengths: Sequence[int], budget: int, *, equal_only: bool = False) -> list[list[int]]:
    """Indices of items of similar length, batch by batch; the padded size of a batch stays within ``budget``.

    ``lengths`` and ``budget`` are in the same unit (frames); an item over the budget forms a batch of its own. With
    ``equal_only`` a batch holds one length only. The plan is a function of its arguments alone.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda item: (lengths[item], item)):
        fits = batches and lengths[index] * (len(batches[-1]) + 1) <= budget
        if fits and not (equal_only and lengths[batches[-1][0]] != lengths[index]):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
