"""Names that people gave to phrases: checked when they come back, and put onto every place that they fit."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.files import write_json
from phrases.describe import count_phrase
from phrases.names import FORMAT, apply_names, names_elsewhere, read_names

KIND = {"format": FORMAT, "format_version": 1, "language": "satere"}


def place(start: float, decision: str | None = None, name: str = "a") -> dict:
    told = {"id": name, "audio_start": start, "audio_end": start + 1.0, "source": f"{name}.mp3", "speaker": None}
    return told | ({"decision": decision} if decision else {})


def phrase(label: str, *starts: float) -> dict:
    known = {"name": "", "gloss": "", "tightness": 0.5}
    return count_phrase(known, [place(start) for start in starts]) | {"label": label}


def named(name: str, *places: dict, gloss: str = "") -> dict:
    return {"name": name, "gloss": gloss, "occurrences": list(places)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "expected the names that the page of the dictionary saves"),
        ([], "expected the names that the page of the dictionary saves"),
        (KIND | {"format": "hits"}, "expected the names that the page of the dictionary saves"),
        (KIND | {"language": "spanish"}, "expected names for satere, found spanish"),
        (KIND | {"phrases": 7}, "expected name, gloss and occurrences"),
        (KIND | {"phrases": [{"name": "x"}]}, "expected name, gloss and occurrences"),
        (KIND | {"phrases": [named("x", 7)]}, "expected name, gloss and occurrences"),
        (KIND | {"phrases": [named("x", place(-1.0, "accepted"))]}, "expected name, gloss and occurrences"),
        (KIND | {"phrases": [named("x", place(1.0, "perhaps"))]}, "expected name, gloss and occurrences"),
        (KIND | {"phrases": [named("x", place(1.0, "accepted") | {"id": 7})]}, "expected name, gloss and occurrences"),
    ],
)
def test_a_file_of_another_kind_or_language_is_refused_by_name(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "names.json"
    write_json(path, content)
    with pytest.raises(UserError, match=said) as refused:
        read_names([path], "satere")
    assert str(refused.value).startswith(f"{path}: ")


def test_spaces_around_a_name_go(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", KIND | {"phrases": [named(" ʼãẽ ", place(0.0, "accepted"), gloss=" yes")]})
    [row] = read_names([tmp_path / "a.json"], "satere")
    assert (row["name"], row["gloss"]) == ("ʼãẽ", "yes")


def test_most_votes_name_a_phrase_and_what_nobody_named_stays(tmp_path: Path) -> None:
    rows = [phrase("s001", 0, 10, 20), phrase("s002", 40)]
    votes = [
        named("house", place(0, "accepted"), place(10, "accepted")),
        named("tree", place(20, "accepted"), place(60, "accepted")),
    ]
    first, second = apply_names(rows, votes)
    assert (first["name"], first["n_occurrences"]) == ("house", 3)
    assert (second["name"], second["label"], second["n_occurrences"]) == ("", "s002", 1)
    assert names_elsewhere([first, second], votes) == [], "tree is said of a place of the first phrase"
    assert names_elsewhere([second], votes) == votes


def test_what_was_rejected_goes_and_a_phrase_of_such_places_alone_too() -> None:
    refusals = [place(0, "rejected"), place(10, "rejected")]
    assert apply_names([phrase("s001", 0, 10)], [named("", *refusals)]) == []
    [kept] = apply_names([phrase("s001", 0, 10)], [named("house", place(0, "accepted"), place(10, "rejected"))])
    assert [row["audio_start"] for row in kept["occurrences"]] == [0] and len(kept["rejected"]) == 1
    [whole] = apply_names([phrase("s001", 0)], [named("house", place(5, "rejected"))])
    assert whole["n_occurrences"] == 1, "another place"


def test_phrases_of_one_name_become_one_without_overlaps() -> None:
    rows = [phrase("s001", 0, 10), phrase("s002", 10.4, 20), phrase("s003", 40)]
    told = named("house", *(place(start, "accepted") for start in (0, 10, 20)), place(30, "rejected"))
    joined, other = apply_names(rows, [told])
    assert [row["audio_start"] for row in joined["occurrences"]] == [0, 10, 20] and joined["n_occurrences"] == 3
    assert len(joined["rejected"]) == 2 and (other["rank"], other["label"]) == (2, "s002")
