"""V4: V3's source and filters at a third of the cost, for phones and browsers.

V3 spends its time in a wide trunk at two frame rates, and in signal processing: three transforms of 640 samples at hop
160, an exponential a bin, a hash a sample. V4 has one trunk at the units' 50 Hz. It says two filters of few bands for
each half frame; a matrix product interpolates them to the bins. Windows have 320 samples, half as many as V3's. Noise
is drawn as spectra, with one hash a window, from a table. So two short transforms a window are left: one of the pulses,
one back. The harmonic filter has the minimum phase that its magnitude implies. That is linear in the log gains, so it
costs one more product.

Kin: ultra-lightweight DDSP vocoders (Agrawal et al. 2024) and Wavehax (Yoneyama et al. 2024) for how little a vocoder
needs; minimum phase from the cepstrum (Oppenheim and Schafer 1975).

Axes: B batch, F unit frames (50 Hz), T = 2 F filter frames (100 Hz), K STFT bins, C channels, S = 320 F samples.
"""

import math

import torch
from torch import nn

from core.frames import HOP_SAMPLES, SAMPLE_RATE
from models.convnext import ConvNeXtBlock
from models.fourier import analyse, synthesise
from models.generator_v3 import MAX_LOG_GAIN, MIN_LOG_GAIN
from models.hashed_noise import hashed_noise, hashed_rows
from models.pitch_embedding import PitchEmbedding
from models.pulse_train import framewise_pulse_train
from models.unit_embedding import add_speaker, as_streams, embed_units, speaker_embedding, unit_tables

WINDOW, HOP = HOP_SAMPLES, HOP_SAMPLES // 2  # samples
N_BINS = WINDOW // 2 + 1
N_NOISE_ROWS = 256  # spectra of white noise to draw from: two and a half seconds, in random order
NOISE_TABLE_KEY = 4
BAND_BREAK = 2000.0  # Hz: bands are evenly spaced well below it, and ever wider above
SILENT = -40.0  # added to the log gains of padding


class GeneratorV4(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F).

    bands, noise_bands: of the two filters. minimum_phase False leaves the pulses' filter without a phase.
    """

    uses_f0 = True

    def __init__(
        self,
        n_units: int,
        *,
        n_streams: int = 1,
        n_speakers: int = 0,
        speaker_dim: int = 0,
        channels: int = 192,
        n_blocks: int = 4,
        expansion: int = 2,
        bands: int = 64,
        noise_bands: int = 32,
        minimum_phase: bool = True,
    ):
        super().__init__()
        self.n_streams, self.n_bands, self.minimum_phase = n_streams, (bands, noise_bands), minimum_phase
        self.unit_embedding = unit_tables(n_units, n_streams, channels)
        self.pitch_embedding = PitchEmbedding(channels, "value")
        self.speaker_embedding = speaker_embedding(n_speakers, speaker_dim, channels)
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, expansion=expansion) for _ in range(n_blocks))
        self.head_norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, 2 * (bands + noise_bands))
        nn.init.normal_(self.head.weight, std=0.02)
        # Starting near the level of speech saves the first hundred steps.
        nn.init.constant_(self.head.bias, -3.0)
        for name, table in fixed_tables(bands, noise_bands).items():
            self.register_buffer(name, table, persistent=False)

    def excite(self, keys: torch.Tensor, n_frames: int, *, first_sample: int = 0) -> torch.Tensor:
        """The noise that ``forward`` filters, a pure function of an utterance's key and the place in it.

        keys: (B,) int64; first_sample: of the utterance, the one that the frames begin with, a multiple of 320.
        Returns (B, 2 n_frames) int64: for each filter frame, the row of the table of noise spectra.
        """
        return hashed_rows(keys, 2 * n_frames, N_NOISE_ROWS, start=first_sample // HOP)

    def forward(
        self,
        content: torch.Tensor,
        f0: torch.Tensor,
        speaker: torch.Tensor | None = None,
        *,
        noise: torch.Tensor | None = None,
        phase: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Speak.

        content: units (B, F) or (B, F, n_streams) int64, -1 = padding; f0: (B, F) float Hz, 0 = unvoiced; speaker:
        (B,) int64, 0 = unknown; noise: of ``excite`` (default: of key 0); phase: (B,) float64 cycles of the pulse train
        before the first sample.
        Returns (B, 320 F) float32 in about [-1, 1], zero on padding.
        """
        content = as_streams(content)
        log_gain, noise_log_gain = self.filters(content, f0, speaker)
        with torch.no_grad(), torch.autocast(content.device.type, enabled=False):
            if noise is None:
                noise = self.excite(torch.zeros(len(content), dtype=torch.int64, device=f0.device), f0.shape[1])
            pulses = framewise_pulse_train(f0.float(), hop=HOP_SAMPLES, sample_rate=SAMPLE_RATE, phase=phase)
            pulse_real, pulse_imaginary = analyse(split_windows(pulses) * self.window)
        with torch.autocast(content.device.type, enabled=False):
            noise_gain = (noise_log_gain @ self.noise_interpolation).exp()
            gain = (log_gain @ self.interpolation).exp()
            noise_planes = (nn.functional.embedding(noise, table) for table in (self.noise_real, self.noise_imaginary))
            real, imaginary = (plane * noise_gain for plane in noise_planes)
            if self.minimum_phase:
                angle = log_gain @ self.phase_of_gain
                gain_real, gain_imaginary = gain * angle.cos(), gain * angle.sin()
                real = torch.addcmul(real, pulse_imaginary, gain_imaginary, value=-1)
                imaginary = torch.addcmul(imaginary, pulse_real, gain_imaginary)
            else:
                gain_real = gain
            real = torch.addcmul(real, pulse_real, gain_real)
            imaginary = torch.addcmul(imaginary, pulse_imaginary, gain_real)
            waveform = overlap_add(synthesise(real, imaginary), self.window)
        mask = (content[..., 0] >= 0).to(waveform.dtype)[..., None]
        return (waveform.reshape(*f0.shape, HOP_SAMPLES) * mask).flatten(1)

    def filters(
        self, content: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, n_streams), (B, F) -> log gains (B, T, bands) of the pulses and (B, T, noise_bands) of the noise."""
        mask = (content[..., :1] >= 0).to(f0.dtype)
        x = self.pitch_embedding(f0) + embed_units(content, self.unit_embedding)
        x = self.norm(add_speaker(x, self.speaker_embedding, speaker)) * mask
        for block in self.blocks:
            x = block(x, mask)
        log_gain = self.head(self.head_norm(x)).float().clamp(MIN_LOG_GAIN, MAX_LOG_GAIN) + (1 - mask) * SILENT
        log_gain = log_gain.reshape(log_gain.shape[0], 2 * log_gain.shape[1], sum(self.n_bands))
        return log_gain.split(self.n_bands, dim=-1)


def split_windows(waveform: torch.Tensor) -> torch.Tensor:
    """(B, S) -> (B, T, 320): window t lies around samples 160 t to 160 t + 160, with 80 more on each side."""
    halves = nn.functional.pad(waveform, (HOP // 2, HOP // 2)).reshape(waveform.shape[0], -1, HOP)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=-1)


def overlap_add(windows: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """(B, T, 320) times ``shape`` (320,) -> (B, 160 T): the inverse of ``split_windows`` where its squares sum to 1."""
    first, second = windows[..., :HOP], windows[..., HOP:]
    inner = torch.addcmul(first[:, 1:] * shape[:HOP], second[:, :-1], shape[HOP:]).flatten(1)
    margin = HOP // 2
    start, end = first[:, 0, margin:] * shape[margin:HOP], second[:, -1, :margin] * shape[HOP:-margin]
    return torch.cat([start, inner, end], dim=1)


def fixed_tables(bands: int, noise_bands: int) -> dict[str, torch.Tensor]:
    """What is the same for every voice, float32: window (320,), noise spectra (N_NOISE_ROWS, K) of unit variance, and
    matrices (bands, K) from log gains of bands to log gains and minimum phase of bins.
    """
    interpolation = band_interpolation(bands)
    planes = hashed_noise(torch.tensor([NOISE_TABLE_KEY]), 2 * N_NOISE_ROWS * N_BINS).reshape(2, N_NOISE_ROWS, N_BINS)
    real, imaginary = planes * math.sqrt(WINDOW / 2)
    tables = {
        "window": torch.sin(math.pi * (torch.arange(WINDOW, dtype=torch.float64) + 0.5) / WINDOW),
        "interpolation": interpolation,
        "phase_of_gain": interpolation @ minimum_phase_matrix(),
        "noise_interpolation": band_interpolation(noise_bands),
        "noise_real": real,
        "noise_imaginary": imaginary,
    }
    return {name: table.float() for name, table in tables.items()}


def band_interpolation(n_bands: int, n_bins: int = N_BINS) -> torch.Tensor:
    """(n_bands, n_bins) float64 weights of each band at each bin: linear between the bands' centres, summing to 1."""
    top = math.log1p(SAMPLE_RATE / 2 / BAND_BREAK)
    centres = torch.expm1(torch.linspace(0, top, n_bands, dtype=torch.float64)) * BAND_BREAK
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, n_bins, dtype=torch.float64)
    above = torch.searchsorted(centres, frequencies).clamp(1, n_bands - 1)
    share = ((frequencies - centres[above - 1]) / (centres[above] - centres[above - 1])).clamp(0, 1)
    weights = torch.zeros(n_bands, n_bins, dtype=torch.float64)
    weights[above - 1, torch.arange(n_bins)] = 1 - share
    weights[above, torch.arange(n_bins)] = share
    return weights


def minimum_phase_matrix(n_bins: int = N_BINS) -> torch.Tensor:
    """(n_bins, n_bins) float64: log magnitudes @ it = the phase of the filter that is causal and so is its inverse.

    The cepstrum of such a filter is 0 at negative times. So it is twice the even part, which the magnitude gives.
    """
    half = n_bins - 1
    cepstra = torch.fft.irfft(torch.eye(n_bins, dtype=torch.float64), n=2 * half)
    cepstra[:, 1:half] *= 2
    cepstra[:, half + 1 :] = 0
    return torch.fft.rfft(cepstra).imag
