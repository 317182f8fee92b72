"""The units and features of stretches of recordings: phase 1's corpus is cut by time, features are made of the stretch.

Axes: U deduplicated units, F frames (50 Hz), S samples, D features.
"""

import functools
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio
from audio.audio_spans import audio_seconds
from core.errors import UserError
from core.file_facts import open_facts, recall
from core.frames import SAMPLE_RATE, UNIT_RATE
from core.hashing import hash_audio_file
from core.records import SPLITS, AudioItem
from encoders.feature_cache import cached_features, fill_feature_cache
from languages import data_root, language_paths
from segmentation.recordings import list_sources
from translation.pairs import Span
from unit_lm.utterances import UnitUtterance, join_frames, read_utterances, slice_frames

log = logging.getLogger("oral_units")

LEAST_SHARE = 0.7  # of a span that phase 1's segments must cover
MAX_MISSING = 0.05  # share of the spans that may lack units

FEATURE_FOLDER = "span_features"  # under DATA_ROOT


class FeatureChoice(NamedTuple):
    """Which features of a stretch are taken, and where they are computed."""

    encoder: str
    layer: int | None
    padding: str
    stack: int  # frames in a place of the translator
    device: str


CorpusIndex = Mapping[str, Sequence[UnitUtterance]]  # of each recording, its utterances in order of time


def index_corpus(language: str, corpus: Path) -> CorpusIndex:
    """The utterances of all splits of phase 1's corpus, by recording."""
    found: dict[str, list[UnitUtterance]] = {}
    for utterance in read_utterances({language: corpus}, SPLITS):
        found.setdefault(utterance.source, []).append(utterance)
    return {recording: sorted(some, key=lambda one: one.start) for recording, some in found.items()}


def cut_units(index: CorpusIndex, span: Span) -> UnitUtterance | None:
    """The units of a span, out of every segment that it touches; None where segments hold too little of it."""
    parts = []
    for utterance in index.get(span.recording, ()):
        n_frames = int(utterance.durations.sum())
        first = max(0, round((span.start - utterance.start) * UNIT_RATE))
        last = n_frames if span.end == float("inf") else round((span.end - utterance.start) * UNIT_RATE)
        if first < min(last, n_frames):
            parts.append(slice_frames(utterance, first, min(last, n_frames)))
    wanted = LEAST_SHARE * (span.end - span.start) * UNIT_RATE if span.end != float("inf") else 1
    held = sum(int(part.durations.sum()) for part in parts)
    return join_frames(parts) if parts and held >= wanted else None


def cut_all(index: CorpusIndex, spans: Iterable[Span], corpus: Path) -> dict[Span, UnitUtterance]:
    """The units of each span that phase 1 has; the others are counted, and too many refused."""
    spans = list(dict.fromkeys(spans))
    found = {span: cut for span in spans if (cut := cut_units(index, span)) is not None}
    missing = [span for span in spans if span not in found]
    if missing:
        first = missing[0]
        said = f"{corpus}: {len(missing)} of {len(spans)} spans lie outside its segments"
        told = f"{said}: {first.recording}, {first.start:.2f} to {first.end:.2f} s is the first"
        if len(missing) > MAX_MISSING * len(spans):
            raise UserError(f"{told}; expected units of the recordings that the table of pairs names: rerun phase 1")
        log.warning("%s; left out", told)
    return found


def span_items(folder: Path, spans: Iterable[Span]) -> dict[Path, dict[Span, AudioItem]]:
    """What the feature cache needs to know of each span, by recording and in order of time.

    folder: of the cache, where hashes of recordings are kept too.
    """
    found: dict[Path, dict[Span, AudioItem]] = {}
    with open_facts(folder / "recordings.tsv", data_root()) as facts:
        for span in sorted(set(spans)):
            path = find_recording(span)
            whole = recall(facts, "hash", path, partial(hash_audio_file, path))
            found.setdefault(path, {})[span] = {
                "id": f"{span.language}/{span.recording}_{span.start:010.3f}",
                "hash": hashlib.sha256(f"{whole} {span.start} {span.end}".encode()).hexdigest(),
                "duration": span_seconds(span),
                "load": partial(_load_part, path, span.start, span.end),
            }
    return found


def _load_part(path: Path, start: float, end: float) -> np.ndarray:
    first, last = round(start * SAMPLE_RATE), None if end == float("inf") else round(end * SAMPLE_RATE)
    return _hold_recording(path)[first:last]


@functools.lru_cache(maxsize=1)
def _hold_recording(path: Path) -> np.ndarray:
    """One recording is decoded once, whatever the order in which its spans are encoded."""
    return load_audio(path)


def span_seconds(span: Span) -> float:
    """How long a span lasts."""
    if span.end != float("inf"):
        return span.end - span.start
    return audio_seconds(find_recording(span)) - span.start


def find_recording(span: Span) -> Path:
    """Where the recording of a span lies; UserError where it does not."""
    raw = language_paths(span.language)["raw"]
    found = _recordings(raw).get(span.recording)
    if found is None:
        raise UserError(f"{raw / span.recording}: expected a recording that the table of pairs names, found none")
    return found


@functools.cache
def _recordings(raw: Path) -> dict[str, Path]:
    return list_sources(raw)


def read_features(folder: Path, spans: Iterable[Span], choice: FeatureChoice) -> dict[Span, np.ndarray]:
    """(F, D) float16 features of each span, made once and kept in ``folder``; what cannot be read is left out."""
    found: dict[Span, np.ndarray] = {}
    for items in tqdm(span_items(folder, spans).values(), desc="encoding", unit=" recordings", disable=None):
        cache = fill_feature_cache(
            folder,
            list(items.values()),
            encoder_id=choice.encoder,
            layer=choice.layer,
            padding=choice.padding,
            device=choice.device,
            num_workers=0,
            quiet=True,
        )
        failed = {item["id"] for item in cache.failed}
        found |= {span: cached_features(cache, item) for span, item in items.items() if item["id"] not in failed}
    return found
