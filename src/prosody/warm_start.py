"""A prosody predictor that starts from another's weights instead of from noise (``--init``).

Everything but the tables of units and speakers and what is counted in a corpus is taken over as it is. The new table of
units is made by ``units.carried_embeddings``. Axes: K units, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from models.prosody_predictor import ProsodyPredictor
from prosody.prediction import Prosody
from training.initial_weights import check_sizes
from units.carried_embeddings import make_tables
from units.kmeans import UnitClusters
from units.utterances import LoadedUtterance

OWN_SIZES = ("n_units", "n_speakers", "dropout")
OWN_WEIGHTS = ("unit_embedding.", "speaker_embedding.", "unit_habits", "class_frames", "class_prior")


class OldProsody(NamedTuple):
    """The predictor to start from, and the clusters that turn recordings into its units."""

    folder: Path
    prosody: Prosody
    clusters: UnitClusters


def check_same_predictor(old: OldProsody, sizes: Mapping[str, object]) -> None:
    """Refuse one of another architecture; numbers of units and speakers may differ. sizes: the new one's arguments."""
    check_sizes(old.folder, ProsodyPredictor, found=old.prosody.sizes or {}, wanted=sizes, own=OWN_SIZES)


@torch.no_grad()
def start_from(
    predictor: ProsodyPredictor, old: OldProsody, utterances: Sequence[LoadedUtterance], new: UnitClusters | None
) -> None:
    """Give ``predictor`` the old one's weights, in place; ``new``: the clusters of its units, where they are known.

    utterances: the training split, of which half an hour is listened to where the clusters differ.
    """
    source = old.prosody.predictor
    shared = {name: value for name, value in source.state_dict().items() if not name.startswith(OWN_WEIGHTS)}
    predictor.load_state_dict(shared, strict=False)
    tables = [source.unit_embedding.weight]
    (table,) = make_tables(
        tables, old.clusters, new, utterances, n_units=predictor.unit_embedding.num_embeddings, n_streams=1
    )
    speakers = source.speaker_embedding
    mean = speakers.weight[1:].mean(dim=0) if speakers is not None else torch.zeros(table.shape[1])
    if predictor.speaker_embedding is None:
        table = table + mean
    else:
        predictor.speaker_embedding.weight.copy_(mean.expand_as(predictor.speaker_embedding.weight))
    predictor.unit_embedding.weight.copy_(table)
