"""Frame arithmetic, once: every encoder, pitch track and generator is tested against these functions."""

SAMPLE_RATE = 16000  # Hz
HOP_SAMPLES = 320  # samples a frame
UNIT_RATE = SAMPLE_RATE // HOP_SAMPLES  # frames a second: 50


def samples_to_frames(n_samples: int) -> int:
    """Whole frames in ``n_samples`` samples at 16 kHz; the incomplete last one is dropped."""
    return n_samples // HOP_SAMPLES


def frames_to_samples(n_frames: int) -> int:
    """Samples that ``n_frames`` frames stand for: exactly what a vocoder returns."""
    return n_frames * HOP_SAMPLES


def frames_to_seconds(n_frames: int) -> float:
    return n_frames / UNIT_RATE
