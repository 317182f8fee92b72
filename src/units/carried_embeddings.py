"""Embeddings of new units out of an old model's: each unit starts from what the old one hears where it lies.

Where a model starts from another's weights (``--init``), its table of units belongs to other clusters. The old clusters
are found in the new language's recordings too, so that every frame has an old embedding and a new unit: a new unit
gets the mean over its frames. So units of any encoder, number and number of streams can follow any others.

Axes: F frames (50 Hz), N streams, K units, C channels of an embedding.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from tqdm import tqdm

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import UNIT_RATE
from encoders.encode import encode, load_encoder
from units.denoising import denoiser_arrays
from units.kmeans import UnitClusters, quantize_to_units, read_description
from units.utterances import LoadedUtterance, count_frames

LISTEN_SECONDS = 30 * 60.0  # of the training recordings; 1000 units are then heard 90 times each on average


def make_tables(
    old_tables: Sequence[torch.Tensor],
    old: UnitClusters,
    new: UnitClusters | None,
    utterances: Sequence[LoadedUtterance],
    *,
    n_units: int,
    n_streams: int,
) -> list[torch.Tensor]:
    """Tables ``n_streams`` times (n_units, C) float32 of the new units, out of one (K, C) for each old stream.

    new: the clusters of the new units, where they are known; equal ones keep their rows. utterances: of the training
    split, with the new units; otherwise half an hour of their recordings is listened to.
    """
    if new is not None and same_clusters(old, new):
        return [table.clone() for table in old_tables]
    heard = listen(old, choose_utterances(utterances, LISTEN_SECONDS))
    pairs = ((embed_frames(units, old_tables), utterance.frame_units) for utterance, units in heard)
    return carry_embeddings(pairs, n_units, n_streams)


def same_clusters(one: UnitClusters, other: UnitClusters) -> bool:
    """Whether both give every recording the same units."""
    arrays = [
        (*clusters.books, clusters.mean, clusters.scale, *denoiser_arrays(clusters.denoiser).values())
        for clusters in (one, other)
    ]
    equal = len(arrays[0]) == len(arrays[1]) and all(map(np.array_equal, *arrays))
    return equal and one.description == other.description


def choose_utterances(utterances: Sequence[LoadedUtterance], seconds: float) -> Sequence[LoadedUtterance]:
    """An even spread of utterances of about ``seconds`` in all."""
    total = float(count_frames(utterances).sum()) / UNIT_RATE
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
