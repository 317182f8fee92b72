"""Compact audio for web pages: every browser plays MP3, also those of old telephones."""

import base64
import io

import numpy as np

import av

from core.frames import SAMPLE_RATE

MP3_BITS_PER_SECOND = 48_000  # 16 kHz mono speech: no loss that hides a vocoder's faults, 6 kB a second


def encode_mp3(waveform: np.ndarray, *, bits_per_second: int = MP3_BITS_PER_SECOND) -> bytes:
    """(S,) float in [-1, 1] at 16 kHz as the bytes of a mono MP3 with its gapless header; clipped."""
    pcm = np.round(np.clip(np.asarray(waveform, np.float64), -1, 1) * 32767).astype(np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", format="s16p")
        stream.bit_rate = bits_per_second
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16p", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        for piece in fifo.read_many(stream.codec_context.frame_size or 576, partial=True):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return out.getvalue()


def audio_data_uri(waveform: np.ndarray) -> str:
    """The waveform as a ``data:`` address that an ``<audio>`` element plays without any file."""
    return "data:audio/mpeg;base64," + base64.b64encode(encode_mp3(waveform)).decode("ascii")
