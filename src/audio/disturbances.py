"""Speech as another day would have it: shifted, in noise, through a telephone band or a lossy codec.

What says the same should get the same units; ``units.sweep`` counts how far that holds. Every function takes and
returns (S,) float32 at 16 kHz in [-1, 1]; what is left of a shift is shorter by it.
"""

import io
from collections.abc import Callable

import numpy as np

import av
from scipy.signal import resample_poly

from audio.audio_io import load_audio
from core.frames import SAMPLE_RATE

CODEC_BITS_A_SECOND = {"mp3": 32_000, "opus": 16_000}
CODECS = {"mp3": ("libmp3lame", "mp3"), "opus": ("libopus", "ogg")}
TELEPHONE_RATE = 8000


def shift(waveform: np.ndarray, milliseconds: int) -> np.ndarray:
    return waveform[milliseconds * SAMPLE_RATE // 1000 :]


def add_noise(waveform: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    """White noise at this ratio of mean powers; the same noise for the same length and seed."""
    noise = np.random.default_rng([seed, len(waveform)]).standard_normal(len(waveform))
    power = np.square(waveform, dtype=np.float64).mean() if len(waveform) else 0.0
    return (waveform + noise * np.sqrt(power * 10 ** (-snr_db / 10))).astype(np.float32)


def through_telephone(waveform: np.ndarray) -> np.ndarray:
    """At 8 kHz and back."""
    step = SAMPLE_RATE // TELEPHONE_RATE
    narrow = resample_poly(waveform, 1, step)
    return resample_poly(narrow, step, 1)[: len(waveform)].astype(np.float32)


def through_codec(waveform: np.ndarray, codec: str) -> np.ndarray:
    """Encoded as "mp3" (32 kbit/s) or "opus" (16 kbit/s) and decoded again, as long as before."""
    name, container_format = CODECS[codec]
    pcm = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    stored = io.BytesIO()
    with av.open(stored, "w", format=container_format) as container:
        stream = container.add_stream(name, rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = CODEC_BITS_A_SECOND[codec]
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    decoded = load_audio(io.BytesIO(stored.getvalue()))[: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded)))


DISTURBANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shift_5ms": lambda waveform: shift(waveform, 5),
    "shift_10ms": lambda waveform: shift(waveform, 10),
    "noise_20db": lambda waveform: add_noise(waveform, 20),
    "noise_10db": lambda waveform: add_noise(waveform, 10),
    "telephone": through_telephone,
    "mp3": lambda waveform: through_codec(waveform, "mp3"),
    "opus": lambda waveform: through_codec(waveform, "opus"),
}
