"""A voice that starts from another's weights instead of from noise (``--init``).

Everything but the tables of units and speakers is taken over as it is. Those tables belong to one language's clusters
and people; ``units.carried_embeddings`` makes the new ones. Axes: N streams, K units, C channels of an embedding.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from core.errors import UserError
from core.files import hash_files
from training.initial_weights import check_sizes
from units.carried_embeddings import make_tables
from units.kmeans import UnitClusters
from units.utterances import LoadedUtterance
from vocoder.generators import GENERATORS, Vocoder
from vocoder.saved_voice import load_clusters, load_discriminator, load_voice, weights_file

OWN_SIZES = ("n_units", "n_streams", "n_speakers")
OWN_TABLES = ("unit_embedding.", "speaker_embedding.")


class OldVoice(NamedTuple):
    """The voice to start from, and the clusters that turn recordings into its units."""

    folder: Path
    vocoder: Vocoder
    clusters: UnitClusters
    discriminator: Mapping[str, torch.Tensor] | None = None  # its weights, where the folder has one


def load_old_voice(folder: Path) -> OldVoice:
    """A saved voice, or the best of an experiment, on the CPU. Raises UserError where there is none."""
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"--init {folder}: expected a saved voice or an experiment of phase 3, found none")
    clusters = load_clusters(folder)
    if clusters is None:
        raise UserError(f"--init {folder}: its units were made elsewhere, without clusters; give another voice")
    return OldVoice(Path(folder), load_voice(folder), clusters, load_discriminator(folder))


def check_same_model(old: OldVoice, version: str, sizes: Mapping[str, object]) -> None:
    """Refuse a voice of another architecture; numbers of units, streams and speakers may differ.

    sizes: the new generator's constructor arguments.
    """
    if old.vocoder.version != version:
        found = old.vocoder.version
        raise UserError(f"--init {old.folder}: expected a {version}, found a {found}; give --generator {found}")
    check_sizes(old.folder, GENERATORS[version], found=old.vocoder.sizes or {}, wanted=sizes, own=OWN_SIZES)


def describe_old(old: OldVoice) -> dict[str, str]:
    """What config.json keeps of it: its name, and the SHA-256 of its weights."""
    return {"started_from": old.folder.name, "started_from_hash": hash_files([weights_file(old.folder)])}


@torch.no_grad()
def start_from(
    generator: nn.Module, old: OldVoice, utterances: Sequence[LoadedUtterance], new: UnitClusters | None
) -> None:
    """Give ``generator`` the old voice's weights, in place; ``new``: the clusters of its units, where they are known.

    utterances: the training split, of which half an hour is listened to where the clusters differ.
    """
    weights = old.vocoder.generator.state_dict()
    shared = {name: value for name, value in weights.items() if not name.startswith(OWN_TABLES)}
    generator.load_state_dict(shared, strict=False)
    tables = make_tables(
        [table.weight for table in old.vocoder.generator.unit_embedding],
        old.clusters,
        new,
        utterances,
        n_units=generator.unit_embedding[0].num_embeddings,
        n_streams=len(generator.unit_embedding),
    )
    set_tables(generator, tables, old.vocoder.generator.speaker_embedding)


def set_tables(generator: nn.Module, tables: Sequence[torch.Tensor], old_speakers: nn.Embedding | None) -> None:
    """Write unit tables N times (K, C); the mean of the old speakers goes to every speaker, or into the units."""
    mean = old_speakers.weight[1:].mean(dim=0) if old_speakers is not None else torch.zeros(tables[0].shape[1])
    for stream, (embedding, table) in enumerate(zip(generator.unit_embedding, tables)):
        alone = generator.speaker_embedding is None and stream == 0
        embedding.weight.copy_(table + mean if alone else table)
    if generator.speaker_embedding is not None:
        generator.speaker_embedding.weight.copy_(mean.expand_as(generator.speaker_embedding.weight))


def start_discriminator(discriminator: nn.Module, old: OldVoice) -> bool:
    """Give ``discriminator`` the old one's weights, in place; False where there is none, or one of other sizes."""
    weights, own = old.discriminator or {}, discriminator.state_dict()
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in own.items()}:
        return False
    discriminator.load_state_dict(weights)
    return True
