"""Mel-frequency cepstra at 50 Hz: the features that need no download (the teacher of HuBERT's first iteration)."""

import functools

import numpy as np
import torch
import torchaudio

from core.frames import HOP_SAMPLES, SAMPLE_RATE, samples_to_frames
from encoders.windows import slice_frames

N_CEPSTRA = 13
N_FFT = 512  # samples; the Hann window inside it is 400 samples (25 ms) long
MFCC_DIM = 3 * N_CEPSTRA
_MARGIN = (N_FFT - HOP_SAMPLES) // 2


@functools.cache
def _mfcc_transform() -> torchaudio.transforms.MFCC:
    settings = {"n_fft": N_FFT, "win_length": 400, "hop_length": HOP_SAMPLES, "n_mels": 40, "center": False}
    return torchaudio.transforms.MFCC(SAMPLE_RATE, N_CEPSTRA, log_mels=True, melkwargs=settings)


@torch.inference_mode()
def extract_mfcc(waveform: np.ndarray, *, subtract_mean: bool = False, context: int = 0) -> np.ndarray:
    """13 cepstra (c0 included), their deltas and delta-deltas: (S,) float32 -> (S // 320, 39) float32.

    The window of frame f is centred on its middle, sample 320 f + 160. ``subtract_mean`` removes the utterance's mean
    from the cepstra (cepstral mean normalisation); ``context`` puts that many neighbours on either side beside each
    frame: (S // 320, 39 * (2 * context + 1)). Davis and Mermelstein 1980; deltas over ±2 frames as in HTK.
    """
    n_frames = samples_to_frames(len(waveform))
    if n_frames == 0:
        return np.zeros((0, MFCC_DIM * (2 * context + 1)), np.float32)
    padded = slice_frames(waveform, 0, n_frames, left=_MARGIN, right=_MARGIN)
    cepstra = _mfcc_transform()(torch.from_numpy(padded))
    if subtract_mean:
        cepstra = cepstra - cepstra.mean(dim=1, keepdim=True)
    deltas = torchaudio.functional.compute_deltas(cepstra)
    features = torch.cat([cepstra, deltas, torchaudio.functional.compute_deltas(deltas)]).T.contiguous().numpy()
    return stack_context(features, context)


def stack_context(features: np.ndarray, context: int) -> np.ndarray:
    """(F, D) -> (F, D * (2 * context + 1)): each frame between its neighbours; the ends are repeated."""
    if context == 0:
        return features
    extended = np.pad(features, ((context, context), (0, 0)), mode="edge")
    return np.concatenate([extended[shift : shift + len(features)] for shift in range(2 * context + 1)], axis=1)
