"""What somebody who listened says of hits: which were right, and become queries; which were wrong, and stay away."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import read_json
from core.frames import UNIT_RATE
from core.records import HitDecision
from spoken_search.index import Index
from spoken_search.matching import Place
from spoken_search.queries import SHORTEST_SECONDS, Query

FORMAT, FORMAT_VERSION = "oral-units search decisions", 1
ACCEPTED, REJECTED = "accepted", "rejected"


def read_decisions(paths: Sequence[Path], language: str) -> list[HitDecision]:
    """The decisions of all files; a later file overrules an earlier one. UserError for a file of another kind."""
    found: dict[tuple[str, float, float], HitDecision] = {}
    for path in paths:
        content = read_json(path, None)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected the decisions that a page of hits saves, found something else")
        if content.get("language") != language:
            raise UserError(f"{path}: expected decisions on {language}, found {content.get('language')}")
        rows = content.get("decisions")
        for row in rows if isinstance(rows, list) else [rows]:
            _check(path, row)
            found[row["id"], row["audio_start"], row["audio_end"]] = row
    return list(found.values())


def _check(path: Path, row: object) -> None:
    good = isinstance(row, dict) and isinstance(row.get("id"), str) and row.get("decision") in (ACCEPTED, REJECTED)
    times = [row.get(name) for name in ("audio_start", "audio_end")] if good else []
    if not good or not all(isinstance(time, int | float) for time in times) or not 0 <= times[0] < times[1]:
        raise UserError(
            f"{path}: expected id, audio_start, audio_end and a decision, {ACCEPTED} or {REJECTED}, found {row}"
        )


def locate(index: Index, decisions: Sequence[HitDecision]) -> list[tuple[Place, str]]:
    """Where in the index the decided places lie; those of segments that are no longer there are left out."""
    numbers = {row["id"]: number for number, row in enumerate(index.segments)}
    found = []
    for row in decisions:
        if (number := numbers.get(row["id"])) is not None:
            n_frames = int(index.bounds[number + 1] - index.bounds[number])
            start = round(row["audio_start"] * UNIT_RATE)
            stop = min(round(row["audio_end"] * UNIT_RATE), n_frames)
            if stop - start >= SHORTEST_SECONDS * UNIT_RATE:
                found.append((Place(number, start, stop, 0.0), row["decision"]))
    return found


def accepted_queries(index: Index, located: Sequence[tuple[Place, str]]) -> list[Query]:
    """The accepted places as queries; their features lie in the index."""
    queries = []
    for place, decision in located:
        if decision == ACCEPTED:
            first = int(index.bounds[place.segment])
            frames = np.asarray(index.frames[first + place.start : first + place.stop], np.float32)
            queries.append(Query(f"{index.segments[place.segment]['id']}, accepted", None, frames))
    return queries


def decide(places: Sequence[Place], located: Sequence[tuple[Place, str]]) -> Mapping[Place, str]:
    """What is decided of the places found: they overlap a decided one by more than half of the shorter."""
    decided = {}
    for place in places:
        for other, decision in located:
            shared = min(place.stop, other.stop) - max(place.start, other.start)
            if other.segment == place.segment and 2 * shared > min(place.stop - place.start, other.stop - other.start):
                decided[place] = decision
    return decided
