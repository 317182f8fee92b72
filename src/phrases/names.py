"""What somebody who listened says of phrases: names, glosses, and occurrences that are something else."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.files import read_json
from core.records import NamedPhrase, NamedPlace, Phrase, PhraseOccurrence
from phrases.describe import count_phrase, number_phrases
from phrases.meanings import read_meaning

FORMAT, FORMAT_VERSION = "oral-units phrase names", 1
ACCEPTED, REJECTED = "accepted", "rejected"
MIN_OVERLAP = 0.5  # of the longer of two stretches, that makes them one


def read_names(paths: Sequence[Path], language: str) -> list[NamedPhrase]:
    """The rows of all files in their order. UserError for a file of another kind or language."""
    found: list[NamedPhrase] = []
    for path in paths:
        content = read_json(path, None)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected the names that the page of the dictionary saves, found something else")
        if content.get("language") != language:
            raise UserError(f"{path}: expected names for {language}, found {content.get('language')}")
        rows = content.get("phrases")
        for row in rows if isinstance(rows, list) else [rows]:
            _check(path, row)
            name, gloss = row["name"].strip(), row["gloss"].strip()
            spoken = row.get("gloss_audio")
            said = {"gloss_audio": read_meaning(path, name or gloss, spoken)} if spoken else {}
            found.append({"name": name, "gloss": gloss, **said, "occurrences": row["occurrences"]})
    return found


def _check(path: Path, row: object) -> None:
    good = isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("name", "gloss"))
    places = row.get("occurrences") if good else None
    if not isinstance(places, list) or not all(map(_is_place, places)):
        raise UserError(f"{path}: expected name, gloss and occurrences with id, times and decision, found {row}")


def _is_place(place: object) -> bool:
    if not isinstance(place, dict) or not isinstance(place.get("id"), str):
        return False
    times = [place.get(name) for name in ("audio_start", "audio_end")]
    plain = all(isinstance(time, int | float) for time in times) and 0 <= times[0] < times[1]
    return plain and place.get("decision") in (ACCEPTED, REJECTED)


def apply_names(phrases: Sequence[Phrase], named: Sequence[NamedPhrase]) -> list[Phrase]:
    """The phrases, each with the name that most of its occurrences were given, without occurrences that were rejected.

    Phrases of one name become one. The order stays; ranks and labels are counted again.
    """
    known: dict[str, list[tuple[NamedPlace, int]]] = {}
    for number, row in enumerate(named):
        for place in row["occurrences"]:
            known.setdefault(place["id"], []).append((place, number))
    rows: dict[object, Phrase] = {}
    for phrase in phrases:
        row = _apply(phrase, known, named)
        if row is None:
            continue
        key = (row["name"], row["gloss"]) if row["name"] else phrase["label"]
        rows[key] = _together(rows[key], row) if key in rows else row
    return number_phrases(list(rows.values()))


def _apply(
    phrase: Phrase, known: dict[str, list[tuple[NamedPlace, int]]], named: Sequence[NamedPhrase]
) -> Phrase | None:
    """One phrase with what is known of it; None where all of it was rejected."""
    votes: Counter[int] = Counter()
    refused: set[tuple[int, int]] = set()  # (occurrence, row that rejects it)
    for at, occurrence in enumerate(phrase["occurrences"]):
        for place, number in known.get(occurrence["id"], []):
            if _overlap(occurrence, place) >= MIN_OVERLAP:
                if place["decision"] == REJECTED:
                    refused.add((at, number))
                else:
                    votes[number] += 1
    if not votes and not refused:
        return phrase
    chosen = max(votes, key=lambda number: (votes[number], number)) if votes else None
    against = {at for at, number in refused if chosen is None or named[number] == named[chosen]}
    kept = [row for at, row in enumerate(phrase["occurrences"]) if at not in against]
    if not kept:
        return None
    told = named[chosen] if chosen is not None else {"name": "", "gloss": "", "occurrences": []}
    known_as = {"tightness": phrase["tightness"], "name": told["name"], "gloss": told["gloss"]}
    known_as |= {"gloss_audio": told["gloss_audio"]} if "gloss_audio" in told else {}
    refusals = [place for place in told["occurrences"] if place["decision"] == REJECTED]
    return {**count_phrase(known_as, kept), **({"rejected": refusals} if refusals else {})}


def _overlap(one: PhraseOccurrence, other: NamedPlace) -> float:
    shared = min(one["audio_end"], other["audio_end"]) - max(one["audio_start"], other["audio_start"])
    longer = max(one["audio_end"] - one["audio_start"], other["audio_end"] - other["audio_start"])
    return max(shared, 0.0) / longer


def _together(one: Phrase, other: Phrase) -> Phrase:
    """Two phrases of one name as one; of occurrences that overlap, the first."""
    kept = list(one["occurrences"])
    for row in other["occurrences"]:
        rivals = [rival for rival in kept if rival["id"] == row["id"]]
        if all(
            row["audio_end"] <= rival["audio_start"] or row["audio_start"] >= rival["audio_end"] for rival in rivals
        ):
            kept.append(row)
    refusals = [*one.get("rejected", []), *other.get("rejected", [])]
    joined = count_phrase({**other, **one, "tightness": min(one["tightness"], other["tightness"])}, kept)
    return {**joined, **({"rejected": refusals} if refusals else {})}


def names_elsewhere(phrases: Sequence[Phrase], named: Sequence[NamedPhrase]) -> list[NamedPhrase]:
    """The rows that say nothing of ``phrases``: the next file shall hold them too."""
    said: dict[str, list[PhraseOccurrence]] = {}
    for phrase in phrases:
        for row in phrase["occurrences"]:
            said.setdefault(row["id"], []).append(row)

    def is_known(row: NamedPhrase) -> bool:
        kept = (place for place in row["occurrences"] if place["decision"] == ACCEPTED)
        return any(_overlap(other, place) >= MIN_OVERLAP for place in kept for other in said.get(place["id"], []))

    return [row for row in named if not is_known(row)]
