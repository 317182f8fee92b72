"""Log-mel distance: how far apart two recordings lie in the project's own log-mel, frame by frame."""

import numpy as np
import torch

from audio.audio_io import compute_mel_spectrogram
from core.frames import HOP_SAMPLES


def compute_mel_distance(original: np.ndarray, resynthesis: np.ndarray) -> float:
    """Mean |difference| in nats over the frames and 80 bands of ``audio.audio_io.compute_mel_spectrogram`` (natural log
    of amplitude, floor 1e-5; FFT 1024, hop 320). 0.1 nat is 0.87 dB.

    original, resynthesis: (S,) float in [-1, 1] at 16 kHz; of unequal lengths the common part is compared. NaN under
    one frame of 320 samples.
    """
    n = min(len(original), len(resynthesis))
    if n < HOP_SAMPLES:
        return float("nan")
    both = np.stack([np.asarray(original[:n], np.float32), np.asarray(resynthesis[:n], np.float32)])
    mel = compute_mel_spectrogram(torch.from_numpy(both))
    return float((mel[0] - mel[1]).abs().mean())
