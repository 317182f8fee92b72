"""Mel-frequency cepstra at 50 Hz: the features that need no download (the teacher of HuBERT's first iteration)."""

import numpy as np
import torch
import torchaudio
from torch import nn

from core.frames import HOP_SAMPLES, SAMPLE_RATE
from encoders.windows import UNBOUNDED, stack_pieces

N_CEPSTRA = 13
N_FFT = 512  # samples; the Hann window inside it is 400 samples (25 ms) long
MFCC_DIM = 3 * N_CEPSTRA
MARGIN = (N_FFT - HOP_SAMPLES) // 2


class MfccEncoder(nn.Module):
    """13 cepstra (c0 included), their deltas and delta-deltas, centred on the middle of each frame.

    subtract_mean: removes a signal's mean from its cepstra (cepstral mean normalisation). context: puts that many
    neighbours on either side next to each frame. Davis and Mermelstein 1980; deltas over ±2 frames as in HTK.
    """

    dim, n_layers, options = MFCC_DIM, 0, ("subtract_mean", "context")
    margins = (MARGIN, MARGIN)
    longest_window = UNBOUNDED
    equal_only = True  # deltas repeat the ends of a signal, which padding would move
    has_positions = False
    is_cheap = True

    def __init__(self, *, subtract_mean: bool = False, context: int = 0) -> None:
        super().__init__()
        self.subtract_mean, self.context = subtract_mean, context
        self.dim = MFCC_DIM * (2 * context + 1)
        spectrum = {"n_fft": N_FFT, "win_length": 400, "hop_length": HOP_SAMPLES, "n_mels": 40, "center": False}
        self.transform = torchaudio.transforms.MFCC(SAMPLE_RATE, N_CEPSTRA, log_mels=True, melkwargs=spectrum)

    def padded_frames(self, n_frames: int) -> int:
        return n_frames

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        return waveform

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {"samples": stack_pieces(pieces)}

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, S) float32, margins included -> (B, F, 39 * (2 * context + 1)) float32."""
        # One signal at a time: the bits of a matrix product depend on its height.
        return torch.stack([stack_context(self._describe(row), self.context) for row in samples])

    def _describe(self, samples: torch.Tensor) -> torch.Tensor:
        """(S,) -> (F, 39)."""
        cepstra = self.transform(samples)
        if self.subtract_mean:
            cepstra = cepstra - cepstra.mean(dim=1, keepdim=True)
        deltas = torchaudio.functional.compute_deltas(cepstra)
        return torch.cat([cepstra, deltas, torchaudio.functional.compute_deltas(deltas)]).T


def stack_context(features: torch.Tensor, context: int) -> torch.Tensor:
    """(F, D) -> (F, D * (2 * context + 1)): each frame between its neighbours; the ends are repeated."""
    if context == 0:
        return features
    extended = torch.cat([features[:1].expand(context, -1), features, features[-1:].expand(context, -1)])
    return torch.cat([extended[shift : shift + len(features)] for shift in range(2 * context + 1)], dim=1)
