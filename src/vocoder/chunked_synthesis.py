"""Speaking long input in bounded memory: overlapping chunks, equal to the whole.

Axes: F frames (50 Hz), N unit streams, S = 320 F samples.
"""

from collections.abc import Iterator

import numpy as np
import torch

from core.frames import HOP_SAMPLES, SAMPLE_RATE
from models.generator_v3 import MARGIN_FRAMES, GeneratorV3
from models.hashed_noise import hashed_noise
from models.pulse_train import upsample_f0

CHUNK_FRAMES = 1000
# More than any generator sees to one side: V3's trunk 21 frames and its windows 2, HiFi-GAN's about 21.
CONTEXT_FRAMES = 32


def frame_cycles(f0: np.ndarray) -> np.ndarray:
    """Periods of the pulse train in each frame: (F,) Hz -> (F,) float64."""
    samples = upsample_f0(torch.from_numpy(f0)[None], HOP_SAMPLES)[0].double() / SAMPLE_RATE
    return samples.reshape(-1, HOP_SAMPLES).sum(1).numpy()


def start_phases(f0: np.ndarray, *, block: int = 10_000) -> np.ndarray:
    """The pulse train's phase at the start of every frame, in cycles: (F,) Hz -> (F,) float64 in [0, 1)."""
    pieces = []
    for start in range(0, len(f0), block):
        # One neighbour either side, as F0 is interpolated between frame centres.
        first, last = max(0, start - 1), min(len(f0), start + block + 1)
        pieces.append(frame_cycles(f0[first:last])[start - first :][:block])
    cycles = np.concatenate(pieces)
    return (np.cumsum(cycles) - cycles) % 1.0


@torch.inference_mode()
def stream_utterance(
    vocoder: dict, item: dict, *, noise_key: int, speaker: int, chunk_frames: int = CHUNK_FRAMES
) -> Iterator[np.ndarray]:
    """Speak {"units" (F, N), "f0" (F,)} a chunk at a time; yields float32 pieces that join to (320 F,).

    Each chunk is spoken with its neighbourhood, continues the phase of the one before, and draws its own stretch of the
    utterance's noise: the pieces equal the whole within rounding.
    """
    units, f0 = item["units"], np.asarray(item["f0"], np.float32)
    phases = start_phases(f0) if len(f0) else f0
    device, is_v3 = vocoder["device"], isinstance(vocoder["generator"], GeneratorV3)
    for start in range(0, len(units), chunk_frames):
        first = max(0, start - CONTEXT_FRAMES)
        stop = min(start + chunk_frames, len(units))
        last = min(stop + CONTEXT_FRAMES, len(units))
        inputs = [torch.from_numpy(units[first:last])[None], torch.from_numpy(f0[first:last])[None]]
        extra = {}
        if is_v3:
            # At the chunk's edge F0 has no neighbour, so its own count of periods is off there: start so that the phase
            # is right where the chunk is kept.
            local = frame_cycles(f0[first:last])[: start - first].sum()
            extra["phase"] = torch.tensor([(phases[start] - local) % 1.0], device=device)
            n_samples = (last - first + 2 * MARGIN_FRAMES) * HOP_SAMPLES
            keys = torch.tensor([noise_key], device=device)
            extra["noise"] = hashed_noise(keys, n_samples, start=(first - MARGIN_FRAMES) * HOP_SAMPLES)
        row = torch.tensor([speaker], device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=vocoder.get("bf16", False)):
            spoken = vocoder["generator"](*(tensor.to(device) for tensor in inputs), row, **extra)[0]
        yield spoken[(start - first) * HOP_SAMPLES : (stop - first) * HOP_SAMPLES].float().cpu().numpy()
