"""Disturbed copies of the training split, as features: what ``units.denoising`` learns from.

Axes: S samples, F frames, D features.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import read_waveform
from audio.augmentation import augment
from core.errors import UserError
from core.frames import HOP_SAMPLES
from core.hashing import hash_fraction
from core.records import Segment
from encoders.encode import Encoder, encode
from languages import resolve_in
from units.clusters import UnitClusters
from units.kmeans import scale_features
from units.speaker_statistics import speaker_key

N_COPIES = 4  # disturbed, beside the clean one
COPIES_SECONDS = 1800.0  # of speech at most that copies are made of

log = logging.getLogger("oral_units")


def read_copies(
    encoder: Encoder,
    rows: Sequence[Segment],
    root: Path,
    clusters: UnitClusters,
    seed: int,
    *,
    n_copies: int = N_COPIES,
    quiet: bool = False,
) -> list[list[np.ndarray]]:
    """Of each row that can be read: scaled features (F, D) of the clean recording, then of ``n_copies`` disturbed ones.

    What disturbs a copy is a function of the seed, the id and its number; babble is made of the other rows. Raises
    UserError where no row can be read.
    """
    spoken = [(row, waveform) for row in rows if (waveform := _read(row, root)) is not None]
    if not spoken:
        raise UserError(
            f"--augment: expected training segments to learn noise from, found none readable of {len(rows)}"
        )
    voices, copies = [waveform for _, waveform in spoken], []
    title = "disturbing copies"
    for index, (row, waveform) in enumerate(tqdm(spoken, desc=title, unit="segment", disable=True if quiet else None)):
        others = voices[:index] + voices[index + 1 :]
        heard = [waveform]
        for number in range(n_copies):
            dice = np.random.default_rng(int(hash_fraction(seed, f"copy {number}", row["id"]) * 2**53))
            heard.append(augment(waveform, dice, others))
        features = [encode(encoder, [one])[0] for one in heard]
        copies.append([scale_features(one, clusters, speaker_key(row)) for one in features])
    return copies


def _read(row: Segment, root: Path) -> np.ndarray | None:
    """The (S,) samples of a segment; None where it cannot be read, which the pass over all segments will name."""
    waveform, failure = read_waveform(resolve_in(root, row["audio"]))
    if waveform is None or len(waveform) < HOP_SAMPLES:
        log.warning("--augment: left out %s: %s", row["id"], failure or "shorter than a frame")
        return None
    return waveform
