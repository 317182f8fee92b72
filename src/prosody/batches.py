"""What the prosody predictor learns from: crops of deduplicated units with their durations and normalised F0.

Batches are a pure function of (seed, step), so that resuming needs no state but the step. Axes: B batch, U units,
F frames (50 Hz), H habits of a unit (``prosody.habits``).
"""

import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from models.pitch_embedding import REFERENCE_F0
from models.prosody_predictor import DURATION_EDGES, class_midpoints
from units.corpus import deduplicate
from units.selection import EVERYTHING, Selection
from units.utterances import (
    COUNTED_AT_ONCE,
    PADDING_UNIT,
    UtteranceTable,
    count_units,
    load_utterances,
    speaker_numbers,
)

CORPUS = ""  # the name under which the statistics of all speakers together are kept
FEWEST_VOICED_FRAMES = 100  # 2 s: a speaker with less takes the corpus' statistics
SMALLEST_DEVIATION = 0.02  # of log F0, a third of a semitone: a monotone corpus must not divide by zero
N_FOLDS = 10  # of the training data: each learns with the habits that units have in the others
MOST_COUNTED = 20_000  # utterances, some 40 hours, whose averages stand for all: a start must not grow with hours
FEWEST_COUNTED = 20  # of a speaker, where there are so many speakers
UNKNOWN_SHARE = 0.1  # crops spoken by "unknown", so that unseen speakers have a trained fallback
Statistics = dict[str, list[float]]  # by speaker: mean and standard deviation of log F0 (natural, of Hz)


class ProsodyUtterance(NamedTuple):
    """An utterance that the predictor learns from, or is scored on."""

    id: str
    units: np.ndarray  # (U,) int64, deduplicated
    durations: np.ndarray  # (U,) int64 frames
    f0: np.ndarray  # (F,) float32 Hz, 0 = unvoiced
    speaker: str | None


class ProsodyCrop(NamedTuple):
    """Some units of an utterance, with their frames."""

    units: np.ndarray  # (U,) int64
    durations: np.ndarray  # (U,) int64 frames
    voiced: np.ndarray  # (F,) bool
    log_f0: np.ndarray  # (F,) float32 standard deviations from the speaker's mean
    speaker: str | None
    habits: np.ndarray  # (U, H) float32


class ProsodyBatch(NamedTuple):
    """Crops padded to one length: units with -1, everything else with 0."""

    units: torch.Tensor  # (B, U) int64
    durations: torch.Tensor  # (B, U) int64 frames
    voiced: torch.Tensor  # (B, F) float32, 0 or 1
    log_f0: torch.Tensor  # (B, F) float32
    mask: torch.Tensor  # (B, F) float32, 1 where there is a frame
    speaker_row: torch.Tensor  # (B,) int64
    habits: torch.Tensor  # (B, U, H) float32


class ProsodyTable(Sequence[ProsodyUtterance]):
    """The utterances of a table with their first stream of units deduplicated: each is read when it is asked for.

    A class, since those who take utterances take any sequence of them.
    """

    def __init__(self, utterances: UtteranceTable):
        self.utterances = utterances

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int | slice) -> ProsodyUtterance | list[ProsodyUtterance]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        found = self.utterances[index]
        return ProsodyUtterance(found.id, *deduplicate(found.frame_units[:, 0]), found.f0, found.speaker)


def load_prosody_utterances(
    corpus: Path, data_root: Path, cache: Path, splits: Sequence[str], selection: Selection = EVERYTHING
) -> ProsodyTable:
    """The selected utterances of ``splits``, in the order of the corpus; none of them is held in memory."""
    return ProsodyTable(load_utterances(corpus, data_root, cache, splits, selection))


def choose_counted(table: ProsodyTable) -> np.ndarray:
    """Rows of the utterances whose averages stand for all: every one or, of many, an even spread of each speaker's."""
    if len(table) <= MOST_COUNTED:
        return np.arange(len(table))
    speakers = speaker_numbers(table.utterances)
    totals = np.bincount(speakers + 1)  # nobody is named as -1
    wanted = np.minimum(totals, max(FEWEST_COUNTED, MOST_COUNTED // np.count_nonzero(totals)))
    seen, chosen = np.zeros_like(totals), []
    for start in range(0, len(speakers), COUNTED_AT_ONCE):
        group = speakers[start : start + COUNTED_AT_ONCE] + 1
        order = np.argsort(group, kind="stable")
        counts = np.bincount(group, minlength=len(totals))
        place = np.empty(len(group), np.int64)  # of each among its speaker's utterances
        place[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
        place += seen[group]
        seen += counts
        # So many are chosen before it, and so many with it.
        before, after = (-(-(place + more) * wanted[group] // totals[group]) for more in (0, 1))
        chosen.append(start + np.flatnonzero(after > before))
    return np.concatenate(chosen)


def pitch_statistics(utterances: Iterable[ProsodyUtterance]) -> Statistics:
    """Mean and standard deviation of log F0 over the voiced frames of each speaker, and of all as ``CORPUS``.

    A corpus without a voiced frame takes the middle of human voices.
    """
    middle, sums = math.log(REFERENCE_F0), {CORPUS: np.zeros(3)}  # frames, and their first two powers about the middle
    for utterance in utterances:
        away = np.log(utterance.f0[utterance.f0 > 0].astype(np.float64)) - middle
        for name in {CORPUS, utterance.speaker or CORPUS}:
            sums.setdefault(name, np.zeros(3))
            sums[name] += (len(away), away.sum(), np.square(away).sum())
    statistics = {CORPUS: [middle, SMALLEST_DEVIATION]}
    for name, (n_frames, first, second) in ((name, own.tolist()) for name, own in sums.items()):
        if n_frames >= (1 if name == CORPUS else FEWEST_VOICED_FRAMES):
            deviation = math.sqrt(max(0.0, second / n_frames - (first / n_frames) ** 2))
            statistics[name] = [middle + first / n_frames, max(deviation, SMALLEST_DEVIATION)]
    return statistics


def duration_statistics(utterances: Iterable[ProsodyUtterance]) -> tuple[torch.Tensor, torch.Tensor]:
    """(K,) float32 mean frames and (K,) log frequency of each duration class.

    A class that never occurs keeps its middle and counts as a hundredth of an occurrence.
    """
    counts, sums = np.zeros((2, len(DURATION_EDGES)))
    for utterance in utterances:
        classes = np.searchsorted(DURATION_EDGES, utterance.durations, side="right") - 1
        counts += np.bincount(classes, minlength=len(DURATION_EDGES))
        sums += np.bincount(classes, weights=utterance.durations, minlength=len(DURATION_EDGES))
    counts, sums = torch.from_numpy(counts), torch.from_numpy(sums)
    means = torch.where(counts > 0, sums / counts.clamp_min(1), class_midpoints().double())
    return means.float(), (counts.clamp_min(0.01) / counts.sum()).log().float()


def normalise_f0(f0: np.ndarray, statistics: Statistics, speaker: str | None) -> np.ndarray:
    """(F,) Hz -> (F,) float32 standard deviations of log F0 from the speaker's mean; 0 where unvoiced."""
    mean, deviation = statistics.get(speaker or CORPUS, statistics[CORPUS])
    return np.where(f0 > 0, (np.log(np.maximum(f0, 1.0)) - mean) / deviation, 0.0).astype(np.float32)


def count_crops(utterances: Iterable[ProsodyUtterance], crop_units: int) -> np.ndarray:
    """The utterance of every crop of an epoch: as many slots as ``crop_units`` fit into it, at least one."""
    if isinstance(utterances, ProsodyTable):
        n_units = count_units(utterances.utterances)
    else:
        n_units = np.fromiter((len(utterance.units) for utterance in utterances), np.int32)
    slots = np.maximum(1, np.round(n_units / crop_units)).astype(np.int32)
    return np.repeat(np.arange(len(slots), dtype=np.int32), slots)


def fold_of(row: int) -> int:
    """The fold, from 1 to N_FOLDS, of the utterance ``row`` of the training data; row 0 of all habits is no fold's."""
    return 1 + row % N_FOLDS


@functools.lru_cache(maxsize=2)
def _epoch_order(n_crops: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(np.arange(n_crops, dtype=np.int32))


def draw_batch(
    utterances: Sequence[ProsodyUtterance],
    crops: np.ndarray,
    statistics: Statistics,
    speakers: Sequence[str],
    *,
    habits: np.ndarray,
    step: int,
    batch_size: int,
    crop_units: int,
    seed: int,
) -> ProsodyBatch:
    """The batch of ``step``: every epoch visits each slot of ``crops`` once, each time at another place.

    habits: (N_FOLDS + 1, n_units, H) of ``cross_habits``; each utterance gets those of the others.
    """
    drawn = []
    for item in range(step * batch_size, (step + 1) * batch_size):
        epoch, position = divmod(item, len(crops))
        row = int(crops[_epoch_order(len(crops), seed, epoch)[position]])
        utterance = utterances[row]
        random = np.random.default_rng((seed, item))
        start = int(random.integers(0, max(0, len(utterance.units) - crop_units) + 1))
        known = random.random() >= UNKNOWN_SHARE
        units = slice(start, start + crop_units)
        crop = crop_utterance(utterance, units, statistics, habits[fold_of(row)])
        drawn.append(crop if known else crop._replace(speaker=None))
    return collate_prosody(drawn, speakers)


def crop_utterance(
    utterance: ProsodyUtterance, units: slice, statistics: Statistics, habits: np.ndarray
) -> ProsodyCrop:
    """Some units of an utterance with their frames, F0 normalised by the speaker, and their rows of (n_units, H)."""
    edges = np.concatenate([[0], np.cumsum(utterance.durations)])[units.start : units.stop + 1]
    f0 = utterance.f0[edges[0] : edges[-1]]
    return ProsodyCrop(
        units=utterance.units[units],
        durations=utterance.durations[units],
        voiced=f0 > 0,
        log_f0=normalise_f0(f0, statistics, utterance.speaker),
        speaker=utterance.speaker,
        habits=habits[utterance.units[units]],
    )


def collate_prosody(crops: Sequence[ProsodyCrop], speakers: Sequence[str]) -> ProsodyBatch:
    """Pad and stack crops; ``speakers`` are the names of rows 1, 2, … of the speaker embedding."""
    units, durations, voiced, log_f0, names, habits = zip(*crops)
    rows = {name: row for row, name in enumerate(speakers, 1)}
    return ProsodyBatch(
        units=_pad(units, PADDING_UNIT, np.int64),
        durations=_pad(durations, 0, np.int64),
        voiced=_pad(voiced, 0.0, np.float32),
        log_f0=_pad(log_f0, 0.0, np.float32),
        mask=_pad([np.ones(len(track)) for track in voiced], 0.0, np.float32),
        speaker_row=torch.tensor([rows.get(name, 0) for name in names], dtype=torch.int64),
        habits=_pad(habits, 0.0, np.float32),
    )


def _pad(tracks: Sequence[np.ndarray], padding: float, kind: type) -> torch.Tensor:
    padded = np.full((len(tracks), max(map(len, tracks)), *tracks[0].shape[1:]), padding, kind)
    for row, track in enumerate(tracks):
        padded[row, : len(track)] = track
    return torch.from_numpy(padded)
