"""segments.jsonl read: frames of a row."""

from core.frames import SAMPLE_RATE, samples_to_frames
from segmentation.manifest import count_frames


def test_frames_are_counted_from_samples_and_not_from_a_product_of_seconds() -> None:
    """0.58 s times 50 is 28.999…: the audio has 29 frames."""
    assert count_frames({"duration": 0.58}) == 29
    for n_frames in range(100, 6000):
        duration = round(n_frames * 320 / SAMPLE_RATE, 4)
        assert count_frames({"duration": duration}) == samples_to_frames(n_frames * 320)
