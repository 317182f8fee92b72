"""Speaking long input in bounded memory: overlapping chunks, equal to the whole.

Axes: F frames (50 Hz), N unit streams, S = 320 F samples.
"""

from collections.abc import Iterator

import numpy as np
import torch

from core.frames import HOP_SAMPLES, SAMPLE_RATE
from models.pulse_train import upsample_f0
from units.requests import SpokenItem
from vocoder.generators import Vocoder, speaker_input

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
    vocoder: Vocoder, item: SpokenItem, *, noise_key: int, chunk_frames: int = CHUNK_FRAMES
) -> Iterator[np.ndarray]:
    """Speak an item a chunk at a time; yields float32 pieces that join to (320 F,).

    Each chunk is spoken with its neighbourhood, continues the phase of the one before, and draws its own stretch of the
    utterance's noise: the pieces equal the whole within rounding.
    """
    content, f0 = item.content, np.asarray(item.f0, np.float32)
    phases = start_phases(f0) if len(f0) else f0
    key = torch.tensor([noise_key], device=vocoder.device)
    speaker = speaker_input(vocoder, [item])
    for start in range(0, len(content), chunk_frames):
        stop = min(start + chunk_frames, len(content))
        first, last = max(0, start - CONTEXT_FRAMES), min(stop + CONTEXT_FRAMES, len(content))
        inputs = [torch.from_numpy(track[first:last])[None].to(vocoder.device) for track in (content, f0)]
        # At the chunk's edge F0 has no neighbour, so its own count of periods is off there: start so that the phase is
        # right where the chunk is kept.
        local = frame_cycles(f0[first:last])[: start - first].sum()
        phase = torch.tensor([(phases[start] - local) % 1.0], device=vocoder.device)
        noise = vocoder.generator.excite(key, last - first, first_sample=first * HOP_SAMPLES)
        with torch.autocast(vocoder.device.type, torch.bfloat16, enabled=vocoder.bf16):
            spoken = vocoder.generator(*inputs, speaker, noise=noise, phase=phase)[0]
        yield spoken[(start - first) * HOP_SAMPLES : (stop - first) * HOP_SAMPLES].float().cpu().numpy()
