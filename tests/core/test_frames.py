"""Frame arithmetic: one answer for encoder, pitch track, log-mel and generator."""

import numpy as np
import torch

import pytest

from audio.audio_io import compute_mel_spectrogram
from audio.pitch import extract_f0
from core.frames import (
    HOP_SAMPLES,
    SAMPLE_RATE,
    UNIT_RATE,
    frames_to_samples,
    frames_to_seconds,
    samples_to_frames,
)
from encoders.encode import encode, load_encoder
from vocoder.generators import GENERATORS, build_generator

AROUND_FRAMES = [n for k in (1, 2, 3, 25, 249, 250) for n in (320 * k - 1, 320 * k, 320 * k + 1, 320 * k + 319)]


def test_constants_agree() -> None:
    assert (SAMPLE_RATE, HOP_SAMPLES, UNIT_RATE) == (16000, 320, 50)
    assert UNIT_RATE * HOP_SAMPLES == SAMPLE_RATE


def test_an_incomplete_frame_is_dropped() -> None:
    assert [samples_to_frames(n) for n in (0, 1, 319, 320, 639, 640, 80_000)] == [0, 0, 0, 1, 1, 2, 250]
    assert frames_to_samples(250) == 80_000
    assert frames_to_seconds(250) == 5.0


def test_frames_to_samples_and_back() -> None:
    for n_frames in range(2000):
        assert samples_to_frames(frames_to_samples(n_frames)) == n_frames
        assert samples_to_frames(frames_to_samples(n_frames) + HOP_SAMPLES - 1) == n_frames


@pytest.mark.parametrize("n_samples", AROUND_FRAMES)
def test_every_analysis_counts_alike(n_samples: int) -> None:
    """PEERS: 249 against 250 frames between encoder, pitch and audio."""
    waveform = np.random.default_rng(n_samples).normal(scale=0.1, size=n_samples).astype(np.float32)
    n_frames = samples_to_frames(n_samples)
    assert encode(load_encoder("mfcc", None), [waveform])[0].shape[0] == n_frames
    assert extract_f0(waveform).shape == (n_frames,)
    assert compute_mel_spectrogram(torch.from_numpy(waveform)[None]).shape[-1] == n_frames


@pytest.mark.parametrize("version", sorted(GENERATORS))
def test_generators_return_what_the_frames_stand_for(version: str) -> None:
    """PEERS: upsampling that gives 5T + 1."""
    generator = build_generator(version, {"n_units": 5, "channels": 32}).eval()
    for n_frames in (1, 2, 3, 49, 50):
        with torch.inference_mode():
            spoken = generator(torch.zeros(1, n_frames, dtype=torch.int64), torch.full((1, n_frames), 120.0))
        assert spoken.shape == (1, frames_to_samples(n_frames))
