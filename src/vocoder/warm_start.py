"""A voice that starts from another's weights instead of from noise (``--init``).

Everything but the tables of units and speakers is taken over as it is. Those tables belong to one language's clusters
and people; ``units.carried_embeddings`` makes the new ones. Axes: N streams, K units, C channels of an embedding.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from core.errors import UserError
from core.files import hash_files
from encoders.speaker_vectors import mean_vector
from models.discriminator_v3 import FURTHER_WEIGHTS
from training.initial_weights import check_sizes
from units.carried_embeddings import LISTEN_SECONDS, choose_utterances, make_tables
from units.kmeans import UnitClusters
from units.utterances import LoadedUtterance
from vocoder.generators import GENERATORS, Vocoder
from vocoder.saved_voice import load_clusters, load_discriminator, load_voice, weights_file
from vocoder.speaker_means import speaker_means, utterance_vectors

log = logging.getLogger("oral_units")

OWN_SIZES = ("n_units", "n_streams", "n_speakers", "speaker_dim")
OWN_TABLES = ("unit_embedding.", "speaker_embedding.")


class OldVoice(NamedTuple):
    """The voice to start from, and the clusters that turn recordings into its units."""

    folder: Path
    vocoder: Vocoder
    clusters: UnitClusters
    discriminator: Mapping[str, torch.Tensor] | None = None  # its weights, where the folder has one
    # (n_speakers + 1, D) float32 of the new language, where the old voice knows vectors; row 0 is the mean of all
    heard: torch.Tensor | None = None


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
    set_tables(generator, tables, old.vocoder.generator.speaker_embedding, old.heard)


def hear_speakers(
    old: OldVoice, utterances: Sequence[LoadedUtterance], speakers: Sequence[str], cache: Path
) -> OldVoice:
    """Find the new ``speakers`` among those that an old voice with vectors knows, so that it starts as they sound.

    Without the package that computes vectors it starts from its unknown speaker, which a line says.
    """
    if old.vocoder.speaker_vectors is None:
        return old
    chosen = choose_utterances(utterances, LISTEN_SECONDS)
    try:
        vector_of = utterance_vectors(cache, chosen)
    except UserError as error:
        log.warning("--init %s starts from no one's voice: %s", old.folder, error)
        return old
    everybody = mean_vector([vector_of(utterance.id) for utterance in chosen])
    means = speaker_means(chosen, vector_of, speakers)
    means[~means.any(axis=1)] = everybody
    return old._replace(heard=torch.from_numpy(means))


def set_tables(
    generator: nn.Module,
    tables: Sequence[torch.Tensor],
    old_speakers: nn.Embedding | nn.Linear | None,
    heard: torch.Tensor | None = None,
) -> None:
    """Write unit tables N times (K, C), and what the old voice knows of speakers.

    A map of vectors is taken over. Else every new speaker starts as the old voice would speak the vector ``heard``, or
    as the mean of the old table; a voice without speakers has that in its units.
    """
    new = generator.speaker_embedding
    keeps_map = isinstance(new, nn.Linear) and isinstance(old_speakers, nn.Linear)
    rows = torch.zeros(1, tables[0].shape[1]) if keeps_map else old_rows(old_speakers, heard, tables[0].shape[1])
    for stream, (embedding, table) in enumerate(zip(generator.unit_embedding, tables)):
        in_units = not isinstance(new, nn.Embedding) and stream == 0
        embedding.weight.copy_(table + rows[0] if in_units else table)
    if keeps_map:
        new.weight.copy_(old_speakers.weight)
    elif isinstance(new, nn.Embedding):
        new.weight.copy_(rows.expand_as(new.weight))


def old_rows(old: nn.Embedding | nn.Linear | None, heard: torch.Tensor | None, width: int) -> torch.Tensor:
    """What the old voice adds for speakers: (1, C) for all, or (n_speakers + 1, C) for the vectors ``heard``."""
    if isinstance(old, nn.Embedding):
        return old.weight[1:].mean(dim=0, keepdim=True)
    return torch.zeros(1, width) if old is None or heard is None else old(heard)


def start_discriminator(discriminator: nn.Module, old: OldVoice) -> bool:
    """Give ``discriminator`` the old one's weights, in place; False where there is none, or one of other sizes.

    Of a large one, trained on a GPU, a small one takes what it has itself; and wider parts that the old one lacks start
    from noise beside what it knows.
    """
    weights, own = old.discriminator or {}, discriminator.state_dict()
    known = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    if not covers(known, own) or not covers(known, weights):
        return False
    discriminator.load_state_dict(known, strict=False)
    return True


def covers(known: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether ``known`` has all of ``weights`` but for the wider sub-discriminators of a large one."""
    return known.keys() >= {name for name in weights if not name.startswith(FURTHER_WEIGHTS)} > set()
