"""What the prosody predictor learns from: crops of deduplicated units with their durations and normalised F0.

Batches are a pure function of (seed, step), so that resuming needs no state but the step. Axes: B batch, U units,
F frames (50 Hz).
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from models.pitch_embedding import REFERENCE_F0
from models.prosody_predictor import DURATION_EDGES, class_midpoints, duration_classes
from units.corpus import deduplicate
from units.utterances import PADDING_UNIT, load_utterances

CORPUS = ""  # the name under which the statistics of all speakers together are kept
FEWEST_VOICED_FRAMES = 100  # 2 s: a speaker with less takes the corpus' statistics
SMALLEST_DEVIATION = 0.02  # of log F0, a third of a semitone: a monotone corpus must not divide by zero
UNKNOWN_SHARE = 0.1  # crops spoken by "unknown", so that unseen speakers have a trained fallback


def load_prosody_utterances(corpus: Path, data_root: Path, cache: Path, splits: Sequence[str]) -> list[dict]:
    """{"id", "units" (U,) int64, "durations" (U,) int64 frames, "f0" (F,) float32 Hz, "speaker"} of each utterance."""
    utterances = []
    for utterance in load_utterances(corpus, data_root, cache, splits):
        units, durations = deduplicate(utterance.frame_units[:, 0])
        found = {"id": utterance.id, "f0": utterance.f0, "speaker": utterance.speaker}
        utterances.append(found | {"units": units, "durations": durations})
    return utterances


def pitch_statistics(utterances: Sequence[dict]) -> dict[str, list[float]]:
    """{speaker: [mean, standard deviation]} of log F0 (natural, of Hz) over voiced frames; ``CORPUS`` for all.

    A corpus without a voiced frame takes the middle of human voices.
    """
    tracks: dict[str, list[np.ndarray]] = {CORPUS: []}
    for utterance in utterances:
        voiced = np.log(utterance["f0"][utterance["f0"] > 0].astype(np.float64))
        for name in {CORPUS, utterance["speaker"] or CORPUS}:
            tracks.setdefault(name, []).append(voiced)
    values = {name: np.concatenate(parts) for name, parts in tracks.items()}
    statistics = {
        name: [float(track.mean()), max(float(track.std()), SMALLEST_DEVIATION)]
        for name, track in values.items()
        if len(track) >= (1 if name == CORPUS else FEWEST_VOICED_FRAMES)
    }
    return {CORPUS: [math.log(REFERENCE_F0), SMALLEST_DEVIATION]} | statistics


def duration_statistics(utterances: Sequence[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    """(K,) float32 mean frames and (K,) log frequency of each duration class.

    A class that never occurs keeps its middle and counts as a hundredth of an occurrence.
    """
    durations = torch.from_numpy(np.concatenate([utterance["durations"] for utterance in utterances]))
    classes = duration_classes(durations)
    counts = torch.bincount(classes, minlength=len(DURATION_EDGES)).double()
    sums = torch.bincount(classes, weights=durations.double(), minlength=len(DURATION_EDGES))
    means = torch.where(counts > 0, sums / counts.clamp_min(1), class_midpoints().double())
    return means.float(), (counts.clamp_min(0.01) / len(durations)).log().float()


def normalise_f0(f0: np.ndarray, statistics: dict[str, list[float]], speaker: str | None) -> np.ndarray:
    """(F,) Hz -> (F,) float32 standard deviations of log F0 from the speaker's mean; 0 where unvoiced."""
    mean, deviation = statistics.get(speaker or CORPUS, statistics[CORPUS])
    return np.where(f0 > 0, (np.log(np.maximum(f0, 1.0)) - mean) / deviation, 0.0).astype(np.float32)


def count_crops(utterances: Sequence[dict], crop_units: int) -> np.ndarray:
    """The utterance of every crop of an epoch: as many slots as ``crop_units`` fit into it, at least one."""
    slots = [max(1, round(len(utterance["units"]) / crop_units)) for utterance in utterances]
    return np.repeat(np.arange(len(utterances)), slots)


@functools.lru_cache(maxsize=2)
def _epoch_order(n_crops: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n_crops)


def draw_batch(
    utterances: Sequence[dict],
    crops: np.ndarray,
    statistics: dict[str, list[float]],
    speakers: Sequence[str],
    *,
    step: int,
    batch_size: int,
    crop_units: int,
    seed: int,
) -> dict[str, torch.Tensor]:
    """The batch of ``step``: every epoch visits each slot of ``crops`` once, each time at another place."""
    items = []
    for item in range(step * batch_size, (step + 1) * batch_size):
        epoch, position = divmod(item, len(crops))
        utterance = utterances[crops[_epoch_order(len(crops), seed, epoch)[position]]]
        random = np.random.default_rng((seed, item))
        start = int(random.integers(0, max(0, len(utterance["units"]) - crop_units) + 1))
        known = random.random() >= UNKNOWN_SHARE
        crop = crop_item(utterance, slice(start, start + crop_units), statistics)
        items.append(crop if known else crop | {"speaker": None})
    return collate_prosody(items, speakers)


def crop_item(utterance: dict, units: slice, statistics: dict[str, list[float]]) -> dict:
    """Some units of an utterance with their frames, F0 as values normalised by the speaker."""
    edges = np.concatenate([[0], np.cumsum(utterance["durations"])])[units.start : units.stop + 1]
    f0 = utterance["f0"][edges[0] : edges[-1]]
    return {
        "units": utterance["units"][units],
        "durations": utterance["durations"][units],
        "voiced": f0 > 0,
        "log_f0": normalise_f0(f0, statistics, utterance["speaker"]),
        "speaker": utterance["speaker"],
    }


def collate_prosody(items: Sequence[dict], speakers: Sequence[str]) -> dict[str, torch.Tensor]:
    """units (B, U) padded with -1, durations (B, U) with 0; voiced, log_f0 and mask (B, F) float; speaker (B,) rows."""
    n_units, n_frames = (max(len(item[key]) for item in items) for key in ("units", "voiced"))
    rows = {name: row for row, name in enumerate(speakers, 1)}
    columns = {
        "units": (n_units, PADDING_UNIT, np.int64),
        "durations": (n_units, 0, np.int64),
        "voiced": (n_frames, 0.0, np.float32),
        "log_f0": (n_frames, 0.0, np.float32),
    }
    batch = {key: np.full((len(items), length), fill, kind) for key, (length, fill, kind) in columns.items()}
    batch["mask"] = np.zeros((len(items), n_frames), np.float32)
    for row, item in enumerate(items):
        for key in columns:
            batch[key][row, : len(item[key])] = item[key]
        batch["mask"][row, : len(item["voiced"])] = 1.0
    batch["speaker"] = np.array([rows.get(item["speaker"], 0) for item in items], np.int64)
    return {key: torch.from_numpy(value) for key, value in batch.items()}


def prosody_losses(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the predictor's forward pass costs, each a mean over what it is defined on.

    - ``duration_nat``: cross-entropy of the duration classes, over units
    - ``voicing_nat``: binary cross-entropy, over frames
    - ``f0_variance``: squared error of the normalised log F0 over voiced frames; 1 is a constant at the mean
    - ``f0_slope_variance``: the same of its change from frame to frame, where both are voiced
    """
    duration_logits, voicing_logits, log_f0 = outputs
    present = batch["units"] >= 0
    voiced, mask = batch["voiced"], batch["mask"]
    pairs = voiced[:, 1:] * voiced[:, :-1]
    slope_error = log_f0.diff(dim=1) - batch["log_f0"].diff(dim=1)
    voicing = functional.binary_cross_entropy_with_logits(voicing_logits, voiced, reduction="none")
    return {
        "duration_nat": functional.cross_entropy(
            duration_logits[present], duration_classes(batch["durations"][present])
        ),
        "voicing_nat": (voicing * mask).sum() / mask.sum(),
        "f0_variance": ((log_f0 - batch["log_f0"]).square() * voiced).sum() / voiced.sum().clamp_min(1),
        "f0_slope_variance": (slope_error.square() * pairs).sum() / pairs.sum().clamp_min(1),
    }
