"""V3: a source-filter generator for small data and small machines.

A ConvNeXt trunk at the frame rate predicts, per half frame, a filter for a pulse train at the given F0 and one for
white noise; both are applied in the STFT domain and one inverse STFT makes the waveform. Kin: DDSP (Engel et al.
2020), neural source-filter models (Wang et al. 2019), HiFTNet (Li et al. 2023), Vocos (Siuzdak 2023).

Axes: B batch, F unit frames (50 Hz), T = 2 F filter frames (100 Hz), K STFT bins, C channels, S = 320 F samples.
"""

from typing import Literal

import torch
from torch import nn

from core.frames import HOP_SAMPLES, N_MELS, SAMPLE_RATE
from models.convnext import ConvNeXtBlock
from models.hashed_noise import hashed_noise
from models.pitch_embedding import PitchEmbedding
from models.pulse_train import pulse_train
from models.unit_embedding import add_speaker, as_streams, embed_units, speaker_embedding, unit_tables

# exp(5) and exp(-9): filters between +43 and -78 dB of unit-power excitation cover speech at [-1, 1].
MAX_LOG_GAIN, MIN_LOG_GAIN = 5.0, -9.0
# Unit frames around the utterance, so that every sample lies under whole STFT windows, each filled with excitation.
MARGIN_FRAMES = 2
MARGIN_SAMPLES = MARGIN_FRAMES * HOP_SAMPLES
MEL_SPREAD = 3.0  # nats: about the standard deviation of speech's log-mel


class GeneratorV3(nn.Module):
    """units (B, F) or (B, F, n_streams), f0 (B, F) -> waveform (B, 320 F).

    With condition "logmel" it is the benchmark's oracle, which shows what the units cost: in their place it is fed the
    original's log-mel above its floor, (B, F, 80) float, which like units is negative on padding only. Speakers are
    rows of a table (n_speakers), or vectors of speaker_dim values (``models.unit_embedding``). For ablations: harmonic
    False leaves out the pulse train; pitch says how the trunk is told F0.
    """

    uses_f0 = True

    def __init__(
        self,
        n_units: int,
        *,
        n_streams: int = 1,
        n_speakers: int = 0,
        speaker_dim: int = 0,
        condition: str = "units",
        channels: int = 320,
        n_blocks: int = 6,
        head_channels: int = 160,
        n_head_blocks: int = 2,
        n_fft: int = 640,
        harmonic: bool = True,
        pitch: Literal["both", "bins", "value"] = "both",
    ):
        super().__init__()
        self.n_fft, self.hop, self.n_streams = n_fft, HOP_SAMPLES // 2, n_streams
        assert n_fft % self.hop == 0, f"n_fft: expected a multiple of {self.hop}, found {n_fft}"
        assert condition in ("units", "logmel"), f"condition: expected units or logmel, found {condition}"
        n_books = n_streams if condition == "units" else 0
        self.unit_embedding = unit_tables(n_units, n_books, channels)
        self.mel = nn.Linear(N_MELS, channels) if condition == "logmel" else None
        self.pitch_embedding = PitchEmbedding(channels, pitch)
        self.speaker_embedding = speaker_embedding(n_speakers, speaker_dim, channels)
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels) for _ in range(n_blocks))
        self.upsample = nn.Linear(channels, 2 * head_channels)
        self.head_blocks = nn.ModuleList(ConvNeXtBlock(head_channels) for _ in range(n_head_blocks))
        self.head_norm = nn.LayerNorm(head_channels)
        self.n_sources = 2 if harmonic else 1
        self.head = nn.Linear(head_channels, self.n_sources * (n_fft // 2 + 1))
        nn.init.normal_(self.head.weight, std=0.02)
        # Starting near the level of speech saves the first hundred steps.
        nn.init.constant_(self.head.bias, -3.0)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def excite(self, keys: torch.Tensor, n_frames: int, *, first_sample: int = 0) -> torch.Tensor:
        """The noise that ``forward`` filters, a pure function of an utterance's key and the place in it.

        keys: (B,) int64; first_sample: of the utterance, the one that the frames begin with. Returns (B, 320 n_frames
        + 1280) float32 white noise of unit variance, from two frames before the first sample to two after the last.
        """
        n_samples = n_frames * HOP_SAMPLES + 2 * MARGIN_SAMPLES
        return hashed_noise(keys, n_samples, start=first_sample - MARGIN_SAMPLES)

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

        content: units (B, F) or (B, F, n_streams) int64, -1 = padding, or log-mel (see the class); f0: (B, F) float
        Hz, 0 = unvoiced; speaker: (B,) int64, 0 = unknown, or (B, speaker_dim) float vectors, 0 = unknown; noise: of
        ``excite`` (default: of key 0); phase: (B,) float64 cycles of the pulse train before the first sample.
        Returns (B, 320 F) float32 in about [-1, 1], zero on padding.
        """
        content = as_streams(content)
        padded_content = nn.functional.pad(content, (0, 0, MARGIN_FRAMES, MARGIN_FRAMES), value=-1)
        padded_f0 = nn.functional.pad(f0, (MARGIN_FRAMES, MARGIN_FRAMES))
        *harmonic_gain, noise_gain = self.filters(padded_content, padded_f0, speaker)
        with torch.no_grad(), torch.autocast(content.device.type, enabled=False):
            pulses, _ = pulse_train(padded_f0.float(), hop=HOP_SAMPLES, sample_rate=SAMPLE_RATE, phase=phase)
            if noise is None:
                noise = self.excite(torch.zeros(len(content), dtype=torch.int64, device=f0.device), f0.shape[1])
            noise_spectrum = self._stft(noise)
            pulse_spectrum = self._stft(pulses) if harmonic_gain else None
        with torch.autocast(content.device.type, enabled=False):
            spectrum = noise_spectrum * noise_gain
            if harmonic_gain:
                spectrum = torch.addcmul(spectrum, pulse_spectrum, harmonic_gain[0])
            waveform = self._overlap_add(spectrum)
        mask = (content[..., 0] >= 0).to(waveform.dtype)[..., None]
        margin = (waveform.shape[1] - f0.shape[1] * HOP_SAMPLES) // 2
        waveform = waveform[:, margin : waveform.shape[1] - margin].unflatten(1, (-1, HOP_SAMPLES))
        return (waveform * mask).flatten(1)

    def filters(
        self, content: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """(B, F, n_streams), (B, F) -> gains (B, T, K) of the pulses, if any, and of the noise, linear amplitude."""
        mask = (content[..., :1] >= 0).to(f0.dtype)
        x = self.pitch_embedding(f0) + self._embed(content)
        x = self.norm(add_speaker(x, self.speaker_embedding, speaker)) * mask
        for block in self.blocks:
            x = block(x, mask)
        x = self.upsample(x).reshape(x.shape[0], 2 * x.shape[1], -1)
        mask = mask.repeat_interleave(2, dim=1)
        for block in self.head_blocks:
            x = block(x, mask)
        log_gain = self.head(self.head_norm(x)).float().clamp(MIN_LOG_GAIN, MAX_LOG_GAIN)
        return log_gain.exp_().chunk(self.n_sources, dim=-1)

    def _embed(self, content: torch.Tensor) -> torch.Tensor:
        """(B, F, n_streams) int64 or, with condition "logmel", (B, F, 80) float -> (B, F, C)."""
        if self.mel is not None:
            return self.mel(content / MEL_SPREAD)
        return embed_units(content, self.unit_embedding)

    def _stft(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, S) -> (B, S / 160, K) complex; window t is centred on sample 160 t + 80."""
        margin = self.n_fft // 2 - self.hop // 2
        frames = nn.functional.pad(waveform, (margin, margin)).unfold(1, self.n_fft, self.hop)
        return torch.fft.rfft(frames * self.window)

    def _overlap_add(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The inverse of ``_stft`` where all windows overlap: (B, T, K) -> (B, 160 (T - 3)), from sample 240 on."""
        n_blocks = self.n_fft // self.hop
        frames = torch.fft.irfft(spectrum, n=self.n_fft).unflatten(2, (n_blocks, self.hop))
        # Squared Hann windows at hop n_fft / 4 sum to 3/2 everywhere.
        windows = (self.window / (0.375 * n_blocks)).unflatten(0, (n_blocks, self.hop))
        n_inner = spectrum.shape[1] - n_blocks + 1
        # Several times faster than fold, as whole blocks are added.
        inner = [frames[:, n_blocks - 1 - k : n_blocks - 1 - k + n_inner, k] for k in range(n_blocks)]
        waveform = inner[0] * windows[0]
        for blocks, window in zip(inner[1:], windows[1:].unbind()):
            waveform = waveform.addcmul_(blocks, window)
        return waveform.flatten(1)
