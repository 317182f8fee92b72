"""Frame arithmetic and the constants of the signal, once: encoders, pitch and generators are tested against them."""

SAMPLE_RATE = 16000  # Hz
HOP_SAMPLES = 320  # samples a frame
UNIT_RATE = SAMPLE_RATE // HOP_SAMPLES  # frames a second: 50
N_MELS = 80  # bands of every log-mel
F0_FLOOR, F0_CEILING = 60.0, 500.0  # Hz: what is measured, predicted and spoken
N_PITCH_BINS = 32  # bin 0 = unvoiced, 1 to 31 log-spaced from floor to ceiling


def is_length(seconds: object) -> bool:
    """Whether something is a number of seconds: no word, nothing below zero, neither NaN nor infinity."""
    return type(seconds) in (int, float) and 0 <= seconds < float("inf")


def samples_to_frames(n_samples: int) -> int:
    """Whole frames in ``n_samples`` samples at 16 kHz; the incomplete last one is dropped."""
    return n_samples // HOP_SAMPLES


def frames_to_samples(n_frames: int) -> int:
    """Samples that ``n_frames`` frames stand for: exactly what a vocoder returns."""
    return n_frames * HOP_SAMPLES


def frames_to_seconds(n_frames: int) -> float:
    return n_frames / UNIT_RATE
