"""The project's log-mel as features at 50 Hz: 80 bands a frame, as the vocoder's loss and the scores see them."""

import numpy as np
import torch
from torch import nn

from audio.audio_io import compute_mel_spectrogram
from core.frames import HOP_SAMPLES, N_MELS
from encoders.windows import UNBOUNDED, stack_pieces

MARGIN_FRAMES = 2  # the window reaches 352 samples beyond its frame; whole frames keep the others in their place


class LogMelEncoder(nn.Module):
    """Natural log of the mel amplitudes of 64 ms around the middle of each frame; it has no weights."""

    dim, n_layers, options = N_MELS, 0, ()
    margins = (MARGIN_FRAMES * HOP_SAMPLES, MARGIN_FRAMES * HOP_SAMPLES)
    longest_window = UNBOUNDED
    equal_only = has_positions = False
    is_cheap = True

    def padded_frames(self, n_frames: int) -> int:
        return n_frames

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        return waveform

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {"samples": stack_pieces(pieces)}

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, S) float32, margins included -> (B, F, 80) float32."""
        return compute_mel_spectrogram(samples).transpose(1, 2)[:, MARGIN_FRAMES:-MARGIN_FRAMES]
