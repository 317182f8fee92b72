"""What the generators are trained on."""

import torch

from speech.audio import compute_mel_spectrogram

# Windows in samples: 8 ms sees single pitch periods, 128 ms single harmonics. Few bands at short windows, as a band
# narrower than an FFT bin is empty.
MEL_WINDOWS = {128: 10, 256: 20, 512: 40, 1024: 80, 2048: 160}


def mel_loss(resynthesis: torch.Tensor, original: torch.Tensor, windows: dict[int, int] | None = None) -> torch.Tensor:
    """Mean absolute difference of log-mel spectrograms, averaged over windows: (B, S), (B, S) -> scalar, nats."""
    windows = windows or MEL_WINDOWS
    distances = [
        (_log_mel(resynthesis, n_fft, n_mels) - _log_mel(original, n_fft, n_mels)).abs().mean()
        for n_fft, n_mels in windows.items()
    ]
    return sum(distances) / len(distances)


def _log_mel(waveform: torch.Tensor, n_fft: int, n_mels: int) -> torch.Tensor:
    return compute_mel_spectrogram(waveform, n_fft=n_fft, hop=n_fft // 4, n_mels=n_mels)
