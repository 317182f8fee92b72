"""Building, loading and speaking with a vocoder.

Axes: B batch, F frames (50 Hz), N unit streams, S = 320 F samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.files import read_json
from core.frames import HOP_SAMPLES
from models.discriminator import Discriminator
from models.discriminator_v2 import DiscriminatorV2
from models.discriminator_v3 import DiscriminatorV3
from models.generator import Generator
from models.generator_v2 import GeneratorV2
from models.generator_v3 import MARGIN_FRAMES, GeneratorV3
from models.hashed_noise import hashed_noise, noise_key
from training.checkpoints import load_checkpoint
from units.utterances import PADDING_UNIT
from vocoder.chunked_synthesis import stream_utterance

GENERATORS = {"v1": Generator, "v2": GeneratorV2, "v3": GeneratorV3}
DISCRIMINATORS = {"v1": Discriminator, "v2": DiscriminatorV2, "v3": DiscriminatorV3}
NOISE_SEED = 0
LONG_FRAMES = 3000  # a minute: what is longer is spoken in chunks, whose memory does not grow


def build_generator(version: str, sizes: dict) -> nn.Module:
    """The generator of a version with its constructor's arguments; what ``sizes`` leaves out keeps the full size."""
    return GENERATORS[version](**sizes)


@torch.no_grad()
def seed_embeddings(generator: nn.Module, books: Sequence[np.ndarray]) -> None:
    """Start the unit embeddings as random projections of the centroids, N times (K, D), in place.

    Units that sound alike then begin alike, which small corpora would otherwise have to teach from a few examples each.
    """
    for embedding, book in zip(generator.units, books):
        centroids = torch.from_numpy(np.asarray(book, np.float32))
        spread = centroids.std().clamp_min(1e-6)
        projection = torch.randn(centroids.shape[1], embedding.embedding_dim) / centroids.shape[1] ** 0.5
        embedding.weight.copy_((centroids - centroids.mean(0)) / spread @ projection)


def speak(
    generator: nn.Module, units: torch.Tensor, f0: torch.Tensor, speaker: torch.Tensor | None, keys: torch.Tensor
) -> torch.Tensor:
    """units (B, F, N), F0 (B, F) Hz, speaker (B,) and noise keys (B,) to (B, S); V1 and V2 need no noise."""
    plain = getattr(generator, "_orig_mod", generator)
    if not isinstance(getattr(plain, "module", plain), GeneratorV3):
        return generator(units, f0, speaker)
    margin = MARGIN_FRAMES * HOP_SAMPLES
    noise = hashed_noise(keys, units.shape[1] * HOP_SAMPLES + 2 * margin, start=-margin)
    return generator(units, f0, speaker, noise=noise)


def load_vocoder(
    exp: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu", *, allow_oracle: bool = False
) -> dict:
    """The generator of a trained experiment with its averaged weights.

    checkpoint: "best" (by validation), "latest", or a path. Returns {"generator" (eval), "version", "sizes", "step",
    "config", "speakers", "device"}; config is the experiment's config.json. With "bf16": True beside them, it is spoken
    under autocast.
    """
    exp = Path(exp)
    path = exp / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "latest") else Path(checkpoint)
    state = load_checkpoint(path, command="bash scripts/run_phase3.sh <language>")
    if "generator_ema" not in state:
        raise UserError(f"{path}: expected a vocoder's checkpoint, found keys {sorted(state)[:5]}")
    if state["sizes"].get("condition", "units") != "units" and not allow_oracle:
        raise UserError(f"{path}: speaks log-mel (--condition logmel), not units; score it with src/vocoder_test.py")
    generator = build_generator(state["version"], state["sizes"])
    generator.load_state_dict(state["generator_ema"])
    return {
        "generator": generator.eval().to(device),
        "version": state["version"],
        "sizes": state["sizes"],
        "step": state["step"],
        "config": read_json(exp / "config.json"),
        "speakers": state["speakers"],
        "device": torch.device(device),
    }


def synthesize_utterances(
    vocoder: dict, items: Iterable[dict], *, max_batch_frames: int = 3000
) -> Iterator[tuple[str, np.ndarray]]:
    """Speak items {"id", "units" (F, N) int64, "f0" (F,) float32 Hz, "speaker"} in their order.

    Neighbours of similar length share a batch of at most ``max_batch_frames`` padded frames, and longer ones are spoken
    in chunks; the result does not depend on it. Yields (id, (320 F,) float32).
    """
    batch: list[dict] = []
    for item in items:
        if len(item["units"]) > max(max_batch_frames, LONG_FRAMES):
            yield from _speak_batch(vocoder, batch) if batch else ()
            batch = []
            yield item["id"], _join_pieces(stream_item(vocoder, item), len(item["units"]))
            continue
        longest = max(len(entry["units"]) for entry in [*batch, item])
        shortest = min(len(entry["units"]) for entry in [*batch, item])
        if batch and (longest * (len(batch) + 1) > max_batch_frames or longest > 1.5 * shortest):
            yield from _speak_batch(vocoder, batch)
            batch = []
        batch.append(item)
    if batch:
        yield from _speak_batch(vocoder, batch)


def stream_item(vocoder: dict, item: dict) -> Iterator[np.ndarray]:
    """Speak one item of ``synthesize_utterances`` in pieces that join to the same waveform, within rounding."""
    key = noise_key(NOISE_SEED, item["id"])
    yield from stream_utterance(vocoder, item, noise_key=key, speaker=speaker_row(vocoder, item))


def _join_pieces(pieces: Iterator[np.ndarray], n_frames: int) -> np.ndarray:
    """Into one array from the start: a list of the pieces would hold an hour twice."""
    waveform, filled = np.empty(n_frames * HOP_SAMPLES, np.float32), 0
    for piece in pieces:
        waveform[filled : filled + len(piece)] = piece
        filled += len(piece)
    return waveform


def speaker_row(vocoder: dict, item: dict) -> int:
    """The row of the speaker embedding that an item asks for; 0 where it asks for none or an unknown one."""
    rows = {name: row for row, name in enumerate(vocoder["speakers"], 1)}
    return rows.get(item.get("speaker"), 0)


@torch.inference_mode()
def _speak_batch(vocoder: dict, batch: list[dict]) -> Iterator[tuple[str, np.ndarray]]:
    lengths = [len(item["units"]) for item in batch]
    content = batch[0]["units"]
    kind = np.float32 if content.dtype.kind == "f" else np.int64
    units = np.full((len(batch), max(lengths), content.shape[1]), PADDING_UNIT, kind)
    f0 = np.zeros(units.shape[:2], np.float32)
    for row, item in enumerate(batch):
        units[row, : lengths[row]], f0[row, : lengths[row]] = item["units"], item["f0"]
    speaker = torch.tensor([speaker_row(vocoder, item) for item in batch])
    keys = torch.tensor([noise_key(NOISE_SEED, item["id"]) for item in batch])
    inputs = [tensor.to(vocoder["device"]) for tensor in (torch.from_numpy(units), torch.from_numpy(f0), speaker, keys)]
    with torch.autocast(vocoder["device"].type, torch.bfloat16, enabled=vocoder.get("bf16", False)):
        waveforms = speak(vocoder["generator"], *inputs).float().cpu().numpy()
    for row, item in enumerate(batch):
        yield item["id"], waveforms[row, : lengths[row] * HOP_SAMPLES]
