"""MP3 for web pages: as long as the waveform, and like it."""

import io

import numpy as np

import av

from audio.mp3 import encode_mp3
from synthetic import speech_like


def decode_mp3(encoded: bytes) -> np.ndarray:
    with av.open(io.BytesIO(encoded)) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


def test_mp3_keeps_length_and_sound() -> None:
    waveform = speech_like(1.7)
    decoded = decode_mp3(encode_mp3(waveform))
    assert len(decoded) == len(waveform)
    assert np.corrcoef(decoded, waveform)[0, 1] > 0.98
    assert len(encode_mp3(waveform)) < 1.7 * 48_000 / 8 + 2_000
