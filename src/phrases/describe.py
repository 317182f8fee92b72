"""Clusters as rows with the times of their recordings; as a table, as tiers, as clips."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from annotations.spans import Span
from audio.audio_io import save_audio
from core.files import write_atomically
from core.frames import SAMPLE_RATE, frames_to_seconds
from core.records import Phrase, PhraseOccurrence, Segment
from phrases.clusters import Cluster, Place, rank_clusters
from spoken_search.hits import place_in_recording

COLUMNS = ("label", "name", "gloss", "gloss_audio", "source", "start", "end", "score", "speaker", "text", "id")
CLIP_MARGIN = 0.05  # s on either side


def describe_clusters(clusters: Sequence[Cluster], segments: Sequence[Segment]) -> list[Phrase]:
    """Rows, ranked by speakers, recordings, occurrences and tightness."""
    speakers = [row.get("speaker") for row in segments]
    recordings = [row.get("source", row["audio"]) for row in segments]
    rows = []
    for cluster in rank_clusters(clusters, speakers, recordings):
        said = [_describe(segments[place.segment], place, fit) for place, fit in zip(cluster.places, cluster.fits)]
        rows.append(count_phrase({"name": "", "gloss": "", "tightness": round(cluster.tightness, 3)}, said))
    return number_phrases(rows)


def _describe(segment: Segment, place: Place, fit: float) -> PhraseOccurrence:
    start, end = frames_to_seconds(place.start), frames_to_seconds(place.stop)
    source, offset, text = place_in_recording(segment, (start + end) / 2)
    return {
        "id": segment["id"],
        "source": source,
        "start": round(start + offset, 3),
        "end": round(end + offset, 3),
        "audio": segment["audio"],
        "audio_start": round(start, 3),
        "audio_end": round(end, 3),
        "speaker": segment.get("speaker"),
        **({"text": text} if text else {}),
        "score": round(fit, 3),
    }


def count_phrase(known: dict, occurrences: list[PhraseOccurrence]) -> Phrase:
    """A row with its numbers; ``known`` holds name, gloss, tightness, and a recorded meaning if there is one."""
    lengths = [row["audio_end"] - row["audio_start"] for row in occurrences]
    return {
        "rank": 0,
        "label": "",
        "name": known["name"],
        "gloss": known["gloss"],
        **({"gloss_audio": known["gloss_audio"]} if "gloss_audio" in known else {}),
        "n_speakers": len({row["speaker"] for row in occurrences} - {None}),
        "n_recordings": len({row["source"] for row in occurrences}),
        "n_occurrences": len(occurrences),
        "seconds": round(float(np.median(lengths)), 3),
        "tightness": known["tightness"],
        "occurrences": occurrences,
    }


def number_phrases(phrases: Sequence[Phrase]) -> list[Phrase]:
    """The rows with ranks and labels by their order."""
    width = max(3, len(str(len(phrases))))
    return [{**row, "rank": rank, "label": f"s{rank:0{width}d}"} for rank, row in enumerate(phrases, 1)]


def title_of(phrase: Phrase) -> str:
    """Its name, or its label where nobody has named it."""
    return phrase["name"] or phrase["label"]


def phrase_spans(phrases: Sequence[Phrase], tier: str = "phrases") -> dict[str, list[Span]]:
    """Recording -> occurrences of phrases on one tier, each with its name or label; where two overlap, the first."""
    spans: dict[str, list[Span]] = {}
    for phrase in phrases:
        for row in phrase["occurrences"]:
            taken = spans.setdefault(row["source"], [])
            if all(row["end"] <= other.start or row["start"] >= other.end for other in taken):
                taken.append(Span(tier, row["start"], row["end"], title_of(phrase)))
    return spans


def write_phrases_csv(path: Path, phrases: Sequence[Phrase]) -> None:
    """A row an occurrence, with a byte order mark for Excel."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    for phrase in phrases:
        named = {name: phrase.get(name, "") for name in ("label", "name", "gloss", "gloss_audio")}
        writer.writerows({**row, **named} for row in phrase["occurrences"])
    write_atomically(path, lambda temporary: temporary.write_text(table.getvalue(), encoding="utf-8-sig", newline=""))


def cut_clip(waveform: np.ndarray, row: PhraseOccurrence, margin: float = CLIP_MARGIN) -> np.ndarray:
    """(S,) of one occurrence, of its segment's waveform."""
    first = max(round((row["audio_start"] - margin) * SAMPLE_RATE), 0)
    return waveform[first : round((row["audio_end"] + margin) * SAMPLE_RATE)]


def write_clips(
    folder: Path, phrases: Sequence[Phrase], load: Callable[[str], np.ndarray], n_each: int
) -> dict[str, list[str]]:
    """``s001_1.wav`` and so on, the most typical first, at most ``n_each`` a phrase; label -> names of the files.

    load: a segment's path, relative to DATA_ROOT -> its waveform (S,).
    """
    names: dict[str, list[str]] = {}
    for phrase in phrases:
        for number, row in enumerate(phrase["occurrences"][:n_each], 1):
            name = f"{phrase['label']}_{number}.wav"
            save_audio(folder / name, cut_clip(load(row["audio"]), row))
            names.setdefault(phrase["label"], []).append(name)
    return names
