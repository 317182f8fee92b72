"""Speaking with a vocoder: units and F0 to waveforms, a batch at a time.

Axes: B batch, F frames (50 Hz), N unit streams, S = 320 F samples.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from core.frames import HOP_SAMPLES
from models.hashed_noise import noise_key
from units.requests import SpokenItem
from units.utterances import PADDING_UNIT
from vocoder.chunked_synthesis import stream_utterance
from vocoder.generators import Vocoder, speaker_input

NOISE_SEED = 0
LONG_FRAMES = 3000  # a minute: what is longer is spoken in chunks, whose memory does not grow


def speak(
    generator: nn.Module, content: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None, keys: torch.Tensor
) -> torch.Tensor:
    """content (B, F, N), F0 (B, F) Hz, speakers (B,) or (B, D) and noise keys (B,) to (B, S).

    The generator may be compiled or distributed: it is called as it is, and excited as the model inside.
    """
    plain = getattr(generator, "_orig_mod", generator)
    plain = getattr(plain, "module", plain)
    return generator(content, f0, speaker, noise=plain.excite(keys, f0.shape[1]))


def synthesize_utterances(
    vocoder: Vocoder, items: Iterable[SpokenItem], *, max_batch_frames: int = 3000
) -> Iterator[tuple[str, np.ndarray]]:
    """Speak items in their order; yields (id, (320 F,) float32).

    Neighbours of similar length share a batch of at most ``max_batch_frames`` padded frames, and longer ones are spoken
    in chunks; the result does not depend on it.
    """
    batch: list[SpokenItem] = []
    for item in items:
        if len(item.content) > max(max_batch_frames, LONG_FRAMES):
            yield from _speak_batch(vocoder, batch) if batch else ()
            batch = []
            yield item.id, _join_pieces(stream_item(vocoder, item), len(item.content))
            continue
        lengths = [len(entry.content) for entry in [*batch, item]]
        too_many = max(lengths) * len(lengths) > max_batch_frames
        if batch and (too_many or max(lengths) > 1.5 * min(lengths)):
            yield from _speak_batch(vocoder, batch)
            batch = []
        batch.append(item)
    if batch:
        yield from _speak_batch(vocoder, batch)


def stream_item(vocoder: Vocoder, item: SpokenItem) -> Iterator[np.ndarray]:
    """Speak one item of ``synthesize_utterances`` in pieces that join to the same waveform, within rounding."""
    yield from stream_utterance(vocoder, item, noise_key=noise_key(NOISE_SEED, item.id))


def _join_pieces(pieces: Iterator[np.ndarray], n_frames: int) -> np.ndarray:
    """Into one array from the start: a list of the pieces would hold an hour twice."""
    waveform, filled = np.empty(n_frames * HOP_SAMPLES, np.float32), 0
    for piece in pieces:
        waveform[filled : filled + len(piece)] = piece
        filled += len(piece)
    return waveform


@torch.inference_mode()
def _speak_batch(vocoder: Vocoder, batch: list[SpokenItem]) -> Iterator[tuple[str, np.ndarray]]:
    lengths = [len(item.content) for item in batch]
    first = batch[0].content
    kind = np.float32 if first.dtype.kind == "f" else np.int64
    content = np.full((len(batch), max(lengths), first.shape[1]), PADDING_UNIT, kind)
    f0 = np.zeros(content.shape[:2], np.float32)
    for row, item in enumerate(batch):
        content[row, : lengths[row]], f0[row, : lengths[row]] = item.content, item.f0
    speaker = speaker_input(vocoder, batch)
    keys = torch.tensor([noise_key(NOISE_SEED, item.id) for item in batch])
    inputs = [tensor.to(vocoder.device) for tensor in (torch.from_numpy(content), torch.from_numpy(f0), speaker, keys)]
    with torch.autocast(vocoder.device.type, torch.bfloat16, enabled=vocoder.bf16):
        waveforms = speak(vocoder.generator, *inputs).float().cpu().numpy()
    for row, item in enumerate(batch):
        yield item.id, waveforms[row, : lengths[row] * HOP_SAMPLES]
