"""Hits: places in an index as rows with the times of their recordings, and as spans on annotation tiers."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.spans import Span
from core.files import write_atomically
from core.frames import frames_to_seconds
from core.records import Hit, Segment
from spoken_search.calibration import probability, score_costs
from spoken_search.index import Index
from spoken_search.matching import Found, Place

COLUMNS = ("rank", "source", "start", "end", "probability", "score", "speaker", "decision", "text", "id")


def describe_hits(index: Index, found: Found, n_hits: int, decisions: Mapping[Place, str] | None = None) -> list[Hit]:
    """The best ``n_hits`` places as rows, those that somebody rejected left out."""
    scores = score_costs([place.cost for place in found.places], found.background)
    rows: list[Hit] = []
    for place, score in zip(found.places, scores):
        decision = (decisions or {}).get(place)
        if decision != "rejected" and len(rows) < n_hits:
            rows.append(_describe(index, place, len(rows) + 1, float(score), decision))
    return rows


def _describe(index: Index, place: Place, rank: int, score: float, decision: str | None) -> Hit:
    segment = index.segments[place.segment]
    start, end = frames_to_seconds(place.start), frames_to_seconds(place.stop)
    source, offset, text = place_in_recording(segment, (start + end) / 2)
    return {
        "rank": rank,
        "id": segment["id"],
        "source": source,
        "start": round(start + offset, 3),
        "end": round(end + offset, 3),
        "audio": segment["audio"],
        "audio_start": round(start, 3),
        "audio_end": round(end, 3),
        "speaker": segment.get("speaker"),
        **({"text": text} if text else {}),
        "cost": round(place.cost, 5),
        "score": round(score, 3),
        "probability": round(probability(score, index.features), 4),
        **({"decision": decision} if decision else {}),
    }


def place_in_recording(segment: Segment, middle: float) -> tuple[str, float, str | None]:
    """The recording, the seconds that its times are ahead of the segment's, and the text, at ``middle`` seconds.

    Of a segment that clips were joined to, those of the clip that lies there.
    """
    parts = segment.get("parts")
    if not parts:
        return segment.get("source") or segment["audio"], segment.get("start", 0.0), segment.get("text")
    part = [one for one in parts if one["offset"] <= middle][-1:] or parts[:1]
    return part[0]["source"], part[0]["start"] - part[0]["offset"], part[0].get("text")


def hit_spans(hits: Sequence[Hit], tier: str) -> dict[str, list[Span]]:
    """Recording -> its hits on one tier, each with its probability as text, or the word and the probability."""
    spans: dict[str, list[Span]] = {}
    for hit in hits:
        said = f"{hit['probability']:.2f}" if "decision" not in hit else hit["decision"]
        spans.setdefault(hit["source"], []).append(Span(tier, hit["start"], hit["end"], f"{tier} {said}"))
    return spans


def write_hits_csv(path: Path, hits: Sequence[Hit]) -> None:
    """A table that spreadsheets open, with a byte order mark for Excel."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(hits)
    write_atomically(path, lambda temporary: temporary.write_text(table.getvalue(), encoding="utf-8-sig", newline=""))
