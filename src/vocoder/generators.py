"""Generators by version: built with their sizes, or loaded from a trained experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.files import read_json
from languages import command_for_folder
from models.discriminator import Discriminator
from models.discriminator_v2 import DiscriminatorV2
from models.discriminator_v3 import DiscriminatorV3
from models.generator import Generator
from models.generator_v2 import GeneratorV2
from models.generator_v3 import GeneratorV3
from models.generator_v4 import GeneratorV4
from models.unit_embedding import seed_table
from training.checkpoints import build_saved, load_checkpoint, require_keys
from units.requests import SpokenItem

GENERATORS = {"v1": Generator, "v2": GeneratorV2, "v3": GeneratorV3, "v4": GeneratorV4}
DISCRIMINATORS = {"v1": Discriminator, "v2": DiscriminatorV2, "v3": DiscriminatorV3, "v4": DiscriminatorV3}


class Vocoder(NamedTuple):
    """A generator that speaks, and where it comes from: what has a default is None while it is being trained."""

    generator: nn.Module  # in eval mode, with its averaged weights
    speakers: Sequence[str]  # names of rows 1, 2, … of the speaker embedding; row 0 is the unknown speaker
    device: torch.device
    bf16: bool = False  # spoken under autocast
    version: str | None = None  # v1 to v4
    sizes: dict | None = None  # the constructor's arguments
    step: int | None = None
    config: dict | None = None  # config.json of the experiment or of the saved voice
    # (n_speakers + 1, D) float32 of a voice that knows speakers by vectors: the mean of each; row 0, unknown, is 0
    speaker_vectors: torch.Tensor | None = None


def build_generator(version: str, sizes: dict) -> nn.Module:
    """The generator of a version with its constructor's arguments; what ``sizes`` leaves out keeps the full size."""
    return GENERATORS[version](**sizes)


def seed_embeddings(generator: nn.Module, books: Sequence[np.ndarray]) -> None:
    """Start the unit embeddings from the centroids, N times (K, D), in place (``models.unit_embedding.seed_table``)."""
    for table, book in zip(generator.unit_embedding, books):
        seed_table(table, torch.from_numpy(np.asarray(book, np.float32)))


def load_vocoder(
    exp: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu", *, allow_oracle: bool = False
) -> Vocoder:
    """The generator of a trained experiment with its averaged weights.

    checkpoint: "best" (by validation), "latest", or a path. allow_oracle: also one that speaks log-mel. Raises
    UserError where the checkpoint is missing, or not a vocoder's.
    """
    exp, path = Path(exp), checkpoint_path(exp, checkpoint)
    state = load_checkpoint(path, command=command_for_folder("run_phase3.sh", exp))
    if "generator_ema" not in state:
        raise UserError(f"{path}: expected a vocoder's checkpoint, found keys {sorted(state)[:5]}")
    require_keys(path, state, "version", "sizes", "speakers", "step")
    version, sizes = state["version"], state["sizes"]
    if sizes.get("condition", "units") != "units" and not allow_oracle:
        raise UserError(f"{path}: speaks log-mel (--condition logmel), not units; score it with src/vocoder_test.py")
    kind = f"the weights of a generator {version} of sizes {sizes}"
    generator = build_saved(path, lambda: build_generator(version, sizes), state["generator_ema"], kind=kind)
    return Vocoder(
        generator=generator.eval().to(device),
        speakers=state["speakers"],
        device=torch.device(device),
        version=version,
        sizes=sizes,
        step=state["step"],
        config=read_json(exp / "config.json"),
        speaker_vectors=state.get("speaker_vectors"),
    )


def checkpoint_path(exp: Path, checkpoint: str | Path) -> Path:
    """The file that "best", "latest" or a path names."""
    named = checkpoint in ("best", "latest")
    return Path(exp) / "checkpoints" / f"{checkpoint}.pt" if named else Path(checkpoint)


def speaker_row(speakers: Sequence[str], speaker: str | None) -> int:
    """The row of a speaker embedding that a name has; 0 for none or an unknown one."""
    return {name: row for row, name in enumerate(speakers, 1)}.get(speaker, 0)


def speaker_input(vocoder: Vocoder, items: Sequence[SpokenItem]) -> torch.Tensor:
    """Who speaks each item, as the generator reads it: rows (B,) int64, or (B, D) float32 where it knows vectors."""
    rows = torch.tensor([speaker_row(vocoder.speakers, item.speaker) for item in items])
    if vocoder.speaker_vectors is None:
        return rows.to(vocoder.device)
    vectors = vocoder.speaker_vectors[rows]
    for place, item in enumerate(items):
        if item.speaker_vector is not None:
            vectors[place] = torch.from_numpy(item.speaker_vector)
    return vectors.to(vocoder.device)
