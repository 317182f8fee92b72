"""Units of many settings compared: features once, clusters on them, penalties from those, one row of scores each.

Features lie in ``folder``/features, clusters in ``folder``/clusters, both by the name of their setting. Axes: F frames,
D features, K units.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rapidfuzz.distance import Levenshtein

from audio.audio_io import read_waveform
from audio.disturbances import DISTURBANCES
from core.arrays import read_arrays, write_arrays
from core.errors import UserError
from core.frames import frames_to_samples
from core.hashing import hash_content, hash_fraction
from core.records import EncoderOrigin, Segment, SweepRow
from encoders.encode import Encoder, encode, position_slack
from languages import resolve_in
from units.abx import score_abx
from units.abx_distance import AbxItems, unequal_distance
from units.abx_report import find_utterance_items
from units.corpus import deduplicate
from units.kmeans import (
    UnitClusters,
    fit_kmeans,
    load_kmeans,
    quantize_to_units,
    read_description,
    refit_on_paths,
    save_kmeans,
)
from units.phone_labels import PhoneLabels
from units.phone_report import PhoneSummary, label_utterances, summarize_phones
from units.quality import Interval, summarize_counts
from units.shards import describe_utterance
from units.speaker_statistics import Spans, speaker_key
from units.tally import count_utterance, finish_tally, new_tally

BATCH_SEGMENTS = 16
SETTING_KEYS = ("encoder", "layer", "cmn", "context", "normalize", "n_units", "duration_penalty")


class FeatureSetting(NamedTuple):
    """What features are made with."""

    encoder: str
    layer: int | None
    cmn: bool
    context: int


class Sample(NamedTuple):
    """Features to fit on."""

    features: np.ndarray  # (F, D), of utterances that follow each other
    spans: Spans


class Scored(NamedTuple):
    """Features of the segments that are scored, and of some of them disturbed."""

    features: list[np.ndarray]  # (F, D) each
    disturbed: dict[str, list[np.ndarray]]  # of the first segments, by the name of the disturbance


def name_of(*setting: object) -> str:
    """A name for files: readable where it is short, and different for different settings."""
    readable = "_".join(Path(str(value)).name if value is not None else "-" for value in setting)
    return f"{readable}_{hash_content(json.dumps(setting, default=str).encode())[:8]}"


def describe_setting(setting: FeatureSetting) -> EncoderOrigin:
    """As phase 1 describes them, so that a sweep's clusters serve ``extract_units.py --kmeans``."""
    windows = {"window_seconds": 30.0, "overlap_seconds": 2.0}
    options = windows | {"subtract_mean": setting.cmn, "context": setting.context}
    return EncoderOrigin(encoder=setting.encoder, layer=setting.layer, options=options)


def encode_rows(
    encoder: Encoder,
    rows: Sequence[Segment],
    root: Path,
    *,
    disturb: Callable[[np.ndarray], np.ndarray] = lambda waveform: waveform,
    seed: int | None = None,
) -> Iterator[tuple[Segment, np.ndarray]]:
    """(row, (F, D) features) in order. With a ``seed``, at the random offsets of a sample to fit on.

    Raises UserError for audio that cannot be read.
    """
    for start in range(0, len(rows), BATCH_SEGMENTS):
        batch = rows[start : start + BATCH_SEGMENTS]
        waveforms = [disturb(_read(resolve_in(root, row["audio"]))) for row in batch]
        offsets = [0] * len(batch)
        if seed is not None:
            slacks = [position_slack(encoder, len(waveform) // frames_to_samples(1)) for waveform in waveforms]
            offsets = [int(hash_fraction(seed, "offset", row["id"]) * (slack + 1)) for row, slack in zip(batch, slacks)]
        yield from zip(batch, encode(encoder, waveforms, offsets=offsets))


def _read(path: Path) -> np.ndarray:
    waveform, failure = read_waveform(path)
    if waveform is None:
        raise UserError(failure)
    return waveform


def cached_features(path: Path, make: Callable[[], Iterable[np.ndarray]]) -> list[np.ndarray]:
    """The (F, D) arrays of ``path`` (.npz), made and written where there is none, or a damaged one."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        stored = read_arrays(path, "features", "bounds")
        return np.split(stored["features"], stored["bounds"][1:-1])
    found = list(make())
    bounds = np.cumsum([0, *(len(features) for features in found)])
    write_arrays(path, features=np.concatenate(found), bounds=bounds)
    return found


def load_sample(encoder: Encoder, path: Path, rows: Sequence[Segment], root: Path, *, seed: int) -> Sample:
    """Features to fit on: those of ``rows``, one after the other."""
    found = cached_features(path, lambda: (features for _, features in encode_rows(encoder, rows, root, seed=seed)))
    return Sample(np.concatenate(found), [(speaker_key(row), len(features)) for row, features in zip(rows, found)])


def load_scored(encoder: Encoder, folder: Path, rows: Sequence[Segment], root: Path, *, n_disturbed: int) -> Scored:
    """Features of ``rows``, and of the first ``n_disturbed`` of them after each of ``DISTURBANCES``."""
    features = cached_features(folder / "plain.npz", lambda: (found for _, found in encode_rows(encoder, rows, root)))
    disturbed = {}
    for name, disturb in DISTURBANCES.items() if n_disturbed else ():
        chosen = encode_rows(encoder, rows[:n_disturbed], root, disturb=disturb)
        disturbed[name] = cached_features(folder / f"{name}.npz", lambda found=chosen: (values for _, values in found))
    return Scored(features, disturbed)


def load_or_fit(
    folder: Path, sample: Callable[[], Sample], origin: EncoderOrigin, *, n_units: int, normalize: str, seed: int
) -> UnitClusters:
    """The clusters of ``folder``, fitted first where there are none."""
    if not (folder / "kmeans.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        found, spans = sample()
        save_kmeans(folder, fit_kmeans(found, n_units, normalize=normalize, seed=seed, spans=spans), origin)
    return load_kmeans(folder / "kmeans.npz")


def load_or_refit(
    folder: Path, sample: Callable[[], Sample], clusters: UnitClusters, duration_penalty: float
) -> UnitClusters:
    """The clusters of ``folder``: where there are none, those given are fitted to a penalty first."""
    if not (folder / "kmeans.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        origin = read_description(clusters) | {"duration_penalty": duration_penalty}
        found, spans = sample()
        save_kmeans(folder, refit_on_paths(found, clusters, duration_penalty, spans), origin)
    return load_kmeans(folder / "kmeans.npz")


def unit_error_rate(references: Sequence[np.ndarray], hypotheses: Sequence[np.ndarray]) -> float:
    """Edits from some units to others over the length of the former, repeats merged on both sides; (F,) each.

    I. Gat et al., "Augmentation Invariant Discrete Representation for Generative Spoken Language Modeling" (2023).
    """
    pairs = [
        (deduplicate(one)[0].tolist(), deduplicate(other)[0].tolist()) for one, other in zip(references, hypotheses)
    ]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / max(1, sum(len(one) for one, _ in pairs))


def score_setting(
    scored: Scored,
    rows: Sequence[Segment],
    clusters: UnitClusters,
    labels: PhoneLabels | None,
    *,
    abx: bool,
    n_resamples: int,
    seed: int,
) -> SweepRow:
    """All scores of one setting: those of phones where there are ``labels``, ABX errors, the slowest, with ``abx``."""
    n_units = len(clusters.books[0])
    found = [quantize_to_units(one, clusters, speaker_key(row)) for one, row in zip(scored.features, rows)]
    utterances = [describe_utterance(row, frames_to_samples(len(one)), one) for row, one in zip(rows, found)]
    tally = new_tally(n_units)
    for utterance in utterances:
        count_utterance(tally, utterance)
    summary = summarize_counts(finish_tally(tally))
    bits = summary.bits_per_second
    row = {
        "seconds": summary.seconds,
        "units_per_second": summary.units_per_second,
        "bits_per_second": bits.frames.value,
        "bits_per_second_deduplicated": bits.deduplicated.value,
        "bits_per_second_timed": bits.deduplicated_timed,
        "one_frame_runs_percent": summary.run_frames.single_frame_percent,
        "mean_run_frames": summary.run_frames.mean,
    }
    if labels is not None:
        labelled, _ = label_utterances(iter(utterances), labels)
        settings = {"n_units": n_units, "n_phones": len(labels.names), "n_resamples": n_resamples, "seed": seed}
        row |= _flat_phones(summarize_phones(labelled, **settings))
    if labels is not None and abx:
        row |= _flat_abx(*find_utterance_items(utterances, labels), n_resamples=n_resamples, seed=seed)
    for name, features in scored.disturbed.items():
        # As new recordings: whoever speaks by telephone is not known by the statistics of a studio.
        heard = [quantize_to_units(one, clusters)[:, 0] for one in features]
        row[f"unit_error_rate_{name}"] = unit_error_rate([one[:, 0] for one in found], heard)
    return row


def _flat_phones(summary: PhoneSummary) -> dict[str, float]:
    named = {
        "pnmi": summary.pnmi,
        "phone_error_rate": summary.phone_error_rate,
        "unit_boundary_precision": summary.unit_boundaries.precision,
        "unit_boundary_recall": summary.unit_boundaries.recall,
        "unit_boundary_f1": summary.unit_boundaries.f1,
        "unit_boundary_r_value": summary.unit_boundaries.r_value,
        "phone_boundary_f1": summary.phone_boundaries.f1,
        "phone_boundary_r_value": summary.phone_boundaries.r_value,
        "random_boundary_f1": summary.controls.random_cuts.f1,
    }
    return {key: value for name, interval in named.items() for key, value in _with_ends(name, interval).items()}


def _flat_abx(items: AbxItems, units: Sequence[np.ndarray], **settings: int) -> dict[str, float]:
    """Errors within and across speakers, where there are triphones to compare."""
    found = score_abx(items, units, unequal_distance, **settings)
    named = {"abx_within": found.within, "abx_across": found.across}
    return {key: value for name, one in named.items() if one for key, value in _with_ends(name, one).items()}


def _with_ends(name: str, interval: Interval) -> dict[str, float]:
    ends = {} if interval.low is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: interval.value, **ends}


def feature_settings(
    encoders: Sequence[str],
    layers: Sequence[int],
    cmn: Sequence[bool],
    contexts: Sequence[int],
    n_layers: dict[str, int],
) -> list[FeatureSetting]:
    """Every combination that there is: ``layers`` for encoders with layers, ``cmn`` and ``contexts`` for mfcc."""
    found = []
    for encoder in encoders:
        own_layers = list(layers) if n_layers[encoder] else [None]
        options = list(product(cmn, contexts)) if encoder == "mfcc" else [(False, 0)]
        found += [FeatureSetting(encoder, layer, *option) for layer in own_layers for option in options]
    return found
