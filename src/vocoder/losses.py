"""What the generators and discriminators are trained on.

Axes: B batch, S samples. What a discriminator says of waveforms are ``Features``: of each of its sub-discriminators,
the inner feature maps and then the scores.
"""

from collections.abc import Callable

import torch

from audio.audio_io import compute_mel_spectrogram

Features = list[list[torch.Tensor]]
# Windows in samples: 8 ms sees single pitch periods, 128 ms single harmonics. Few bands at short windows, as a band
# narrower than an FFT bin is empty.
MEL_WINDOWS = {128: 10, 256: 20, 512: 40, 1024: 80, 2048: 160}


def mel_loss(resynthesis: torch.Tensor, original: torch.Tensor, windows: dict[int, int] | None = None) -> torch.Tensor:
    """Mean absolute difference of log-mel spectrograms, averaged over windows: (B, S), (B, S) -> scalar, nats.

    A window whose hop (a quarter of it) is longer than the S samples has no frame and is left out.
    """
    windows = {n_fft: n for n_fft, n in (windows or MEL_WINDOWS).items() if n_fft // 4 <= original.shape[-1]}
    distances = [
        (_log_mel(resynthesis, n_fft, n_mels) - _log_mel(original, n_fft, n_mels)).abs().mean()
        for n_fft, n_mels in windows.items()
    ]
    return sum(distances) / len(distances)


def _log_mel(waveform: torch.Tensor, n_fft: int, n_mels: int) -> torch.Tensor:
    return compute_mel_spectrogram(waveform, n_fft=n_fft, hop=n_fft // 4, n_mels=n_mels)


def discriminator_loss(of_originals: Features, of_resyntheses: Features) -> torch.Tensor:
    """Least squares (Mao et al. 2017): originals should score 1, resyntheses 0; the mean over sub-discriminators."""
    losses = [
        (1 - original[-1]).square().mean() + resynthesis[-1].square().mean()
        for original, resynthesis in zip(of_originals, of_resyntheses)
    ]
    return sum(losses) / len(losses)


def adversarial_loss(of_resyntheses: Features) -> torch.Tensor:
    """The generator's side of the least squares: resyntheses should score 1."""
    return sum((1 - features[-1]).square().mean() for features in of_resyntheses) / len(of_resyntheses)


def feature_matching_loss(
    of_originals: Features,
    of_resyntheses: Features,
    average: Callable[[torch.Tensor], torch.Tensor] = lambda magnitudes: magnitudes,
) -> torch.Tensor:
    """Mean absolute difference of inner feature maps (Larsen et al. 2016), relative to the originals' magnitude.

    Relative, so that neither the discriminator's width nor its depth changes the weight of the term. ``average`` makes
    the (features,) magnitudes those of the batch of all processes: of their own ones, a mean of ratios would follow.
    """
    pairs = [
        (original.detach(), resynthesis)
        for originals, resyntheses in zip(of_originals, of_resyntheses)
        for original, resynthesis in zip(originals[:-1], resyntheses[:-1])
    ]
    magnitudes = average(torch.stack([original.abs().mean() for original, _ in pairs])).clamp_min(1e-4)
    distances = [
        (resynthesis - original).abs().mean() / magnitude
        for (original, resynthesis), magnitude in zip(pairs, magnitudes.unbind())
    ]
    return sum(distances) / len(distances)
