"""A voice that starts from another's weights instead of from noise (``--init``).

Everything but the tables of units and speakers is taken over as it is. Those tables belong to one language's clusters
and people. The new ones are made from what the old voice hears in the new language's recordings: each unit starts from
the mean of the old embeddings over the frames that carry it.

Axes: F frames (50 Hz), N streams, K units, C channels of an embedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tqdm import tqdm

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import UNIT_RATE
from encoders.encode import encode, load_encoder
from units.kmeans import UnitClusters, quantize_to_units, read_description
from units.utterances import LoadedUtterance
from vocoder.generators import Vocoder
from vocoder.saved_voice import load_clusters, load_voice

LISTEN_SECONDS = 30 * 60.0  # of the training recordings; 1000 units are then heard 90 times each on average
OWN_SIZES = ("n_units", "n_streams", "n_speakers")
OWN_TABLES = ("unit_embedding.", "speaker_embedding.")


class OldVoice(NamedTuple):
    """The voice to start from, and the clusters that turn recordings into its units."""

    folder: Path
    vocoder: Vocoder
    clusters: UnitClusters


def load_old_voice(folder: Path, checkpoint: str = "best") -> OldVoice:
    """A saved voice or an experiment, on the CPU. Raises UserError where there is none."""
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"--init {folder}: expected a saved voice or an experiment of phase 3, found none")
    clusters = load_clusters(folder)
    if clusters is None:
        raise UserError(f"--init {folder}: its units were made elsewhere, without clusters; give another voice")
    return OldVoice(Path(folder), load_voice(folder, checkpoint), clusters)


def check_same_model(old: OldVoice, version: str, sizes: dict[str, object]) -> None:
    """Refuse a voice of another architecture; numbers of units, streams and speakers may differ.

    sizes: the new generator's constructor arguments.
    """
    found, wanted = (_architecture(values) for values in (old.vocoder.sizes or {}, sizes))
    if (old.vocoder.version, found) != (version, wanted):
        raise UserError(
            f"--init {old.folder}: expected a {version} with {wanted or 'the full size'}, found a "
            f"{old.vocoder.version} with {found or 'the full size'}; give the same --generator and --sizes"
        )


def _architecture(sizes: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in sizes.items() if name not in OWN_SIZES}


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
    old_tables = [table.weight for table in old.vocoder.generator.unit_embedding]
    if new is not None and same_clusters(old.clusters, new):
        tables = [table.clone() for table in old_tables]
    else:
        heard = listen(old.clusters, choose_utterances(utterances, LISTEN_SECONDS))
        pairs = ((embed_frames(units, old_tables), utterance.frame_units) for utterance, units in heard)
        tables = carry_embeddings(pairs, generator.unit_embedding[0].num_embeddings, len(generator.unit_embedding))
    set_tables(generator, tables, old.vocoder.generator.speaker_embedding)


def set_tables(generator: nn.Module, tables: Sequence[torch.Tensor], old_speakers: nn.Embedding | None) -> None:
    """Write unit tables N times (K, C); the mean of the old speakers goes to every speaker, or into the units."""
    mean = old_speakers.weight[1:].mean(dim=0) if old_speakers is not None else torch.zeros(tables[0].shape[1])
    for stream, (embedding, table) in enumerate(zip(generator.unit_embedding, tables)):
        alone = generator.speaker_embedding is None and stream == 0
        embedding.weight.copy_(table + mean if alone else table)
    if generator.speaker_embedding is not None:
        generator.speaker_embedding.weight.copy_(mean.expand_as(generator.speaker_embedding.weight))


def same_clusters(one: UnitClusters, other: UnitClusters) -> bool:
    """Whether both give every recording the same units."""
    arrays = [(*clusters.books, clusters.mean, clusters.scale) for clusters in (one, other)]
    equal = len(arrays[0]) == len(arrays[1]) and all(map(np.array_equal, *arrays))
    return equal and one.description == other.description


def choose_utterances(utterances: Sequence[LoadedUtterance], seconds: float) -> Sequence[LoadedUtterance]:
    """An even spread of utterances of about ``seconds`` in all."""
    total = sum(len(utterance.frame_units) for utterance in utterances) / UNIT_RATE
    return utterances[:: max(1, int(total / seconds))]


def listen(
    clusters: UnitClusters, utterances: Iterable[LoadedUtterance]
) -> Iterator[tuple[LoadedUtterance, np.ndarray]]:
    """Each utterance with the units (F, N) that ``clusters`` and their encoder find in its recording."""
    description = read_description(clusters)
    if description is None:
        raise UserError("--init: expected clusters that name their encoder, found none; export the voice again")
    encoder = load_encoder(description["encoder"], description["layer"], **description["options"])
    for utterance in tqdm(utterances, desc="--init listens", unit="utterance", disable=None, leave=False):
        yield utterance, quantize_to_units(encode(encoder, [load_audio(utterance.audio_path)])[0], clusters)


def embed_frames(frame_units: np.ndarray, tables: Sequence[torch.Tensor]) -> np.ndarray:
    """(F, N) units -> (F, C) float64, the sum of their rows in N ``tables`` (K, C)."""
    streams = torch.from_numpy(frame_units.astype(np.int64)).T
    return sum(table[units].double() for table, units in zip(tables, streams)).numpy()


def carry_embeddings(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], n_units: int, n_streams: int
) -> list[torch.Tensor]:
    """New tables, ``n_streams`` times (n_units, C) float32, from old embeddings (F, C) with new units (F, N).

    A unit of the first stream gets the mean over its frames, one of a further stream the mean of what the streams
    before leave over. Units that are never heard get the mean of all frames, or 0 in the further streams.
    """
    embedded, units = map(list, zip(*pairs))
    rest, frame_units = np.concatenate(embedded), np.concatenate(units).astype(np.int64)
    tables = []
    for stream in range(n_streams):
        numbers = frame_units[:, stream]
        counts = np.bincount(numbers, minlength=n_units)[:, None]
        sums = np.zeros((n_units, rest.shape[1]))
        np.add.at(sums, numbers, rest)
        unheard = rest.mean(axis=0) if stream == 0 else np.zeros(rest.shape[1])
        table = np.where(counts > 0, sums / np.maximum(counts, 1), unheard)
        rest = rest - table[numbers]
        tables.append(torch.from_numpy(table.astype(np.float32)))
    return tables
