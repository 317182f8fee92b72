"""find_phrases.py as a person runs it: a word planted in several recordings is the first entry of the dictionary."""

import csv
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import find_phrases
from search_examples import LANGUAGE, WORD_SECONDS, Planted, write_language

from annotations.read_annotations import read_annotations
from audio.audio_io import load_audio
from audio.mp3 import audio_data_uri
from core.errors import UserError
from core.files import read_json, write_json
from spoken_search import choices
from synthetic import speech_like

SAID = audio_data_uri(speech_like(0.5))  # a meaning, as it is recorded


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phrases")


@pytest.fixture(scope="module")
def planted(root: Path) -> Planted:
    return write_language(root / "data", n_segments=15)


@pytest.fixture(scope="module", autouse=True)
def roots(root: Path, planted: Planted) -> Iterator[None]:
    """Folders of the tests' own, and an index of few centroids in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(root / "data"))
        patch.setenv("EXP_ROOT", str(root / "exp"))
        patch.setattr(choices, "N_CENTROIDS", 64)
        yield


def run(root: Path, *flags: object) -> dict:
    words = ["--language", LANGUAGE, "--quiet", "--device", "cpu", "--num_workers", "1"]
    assert find_phrases.main([*words, "--out", str(root / "dictionary"), *map(str, flags)]) == 0
    return read_json(root / "dictionary/phrases.json")


@pytest.fixture(scope="module")
def result(root: Path, roots: None) -> dict:
    return run(root, "--clips", 2)


# Of LIFT 0.13 (sillsdev/lift-standard, RELAX NG): attributes that must stand, that may, and what lies within. Only what
# a dictionary of ours has; the schema has more.
LIFT = {
    "lift": ({"version"}, {"producer"}, {"header", "entry"}),
    "header": (set(), set(), set()),
    "entry": (set(), {"id", "guid"}, {"lexical-unit", "citation", "pronunciation", "sense", "note"}),
    "lexical-unit": (set(), set(), {"form"}),
    "citation": (set(), set(), {"form"}),
    "definition": (set(), set(), {"form"}),
    "pronunciation": (set(), set(), {"form", "media"}),
    "media": ({"href"}, set(), {"label"}),
    "sense": (set(), {"id"}, {"gloss", "definition"}),
    "note": (set(), {"type"}, {"form"}),
    "gloss": ({"lang"}, set(), {"text"}),
    "form": ({"lang"}, set(), {"text"}),
    "text": (set(), set(), set()),
}
AT_MOST_ONE = ("header", "lexical-unit", "citation", "definition", "text")


def check_lift(path: Path) -> None:
    """What the schema says of the elements that we write, and its two rules: one form a language, one note a type."""
    for parent in (root := ElementTree.parse(path).getroot()).iter():
        must, may, within = LIFT[parent.tag]
        assert must <= set(parent.attrib) <= must | may, parent.tag
        tags = [child.tag for child in parent]
        assert set(tags) <= within and all(tags.count(tag) <= 1 for tag in AT_MOST_ONE), (parent.tag, tags)
        kinds = [
            (child.tag, child.get("lang") or child.get("type")) for child in parent if child.tag in ("form", "note")
        ]
        assert len(kinds) == len(set(kinds)), kinds
        assert parent.tag not in ("form", "gloss") or tags == ["text"]
    assert root.get("version") == "0.13"
    ids = [one.get("id") for one in root.iter() if one.tag in ("entry", "sense")]
    assert len(ids) == len(set(ids)) and all(ids)


def place_of(row: dict) -> tuple[str, float]:
    return row["id"], row["audio_start"]


def test_the_planted_word_is_the_first_phrase(result: dict, planted: Planted) -> None:
    first, found = result["phrases"][0], set()
    for row in first["occurrences"]:
        start = planted.places.get(row["id"], -1.0)
        edges = abs(row["audio_start"] - start), abs(row["audio_end"] - start - WORD_SECONDS)
        found |= {row["id"]} if max(edges) < 0.2 else set()
        assert row["start"] == pytest.approx(10 + row["audio_start"])
    assert found == set(planted.places)
    assert len(found) > len(first["occurrences"]) / 2  # syllables of five vowels come back by chance
    assert (first["rank"], first["label"], first["n_occurrences"]) == (1, "s001", len(first["occurrences"]))
    assert 0 <= result["expected_false_share"] <= 0.1 and result["n_pairs"] >= 6


def test_table_tiers_and_clips_say_the_same(root: Path, result: dict) -> None:
    folder, first = root / "dictionary", result["phrases"][0]
    with open(folder / "phrases.csv", encoding="utf-8-sig", newline="") as lines:
        table = [row for row in csv.DictReader(lines) if row["label"] == "s001"]
    assert [row["source"] for row in table] == [row["source"] for row in first["occurrences"]]
    spans = read_annotations(folder / "annotations" / Path(table[0]["source"]).with_suffix(".eaf"))
    assert ("s001", pytest.approx(float(table[0]["start"]), abs=0.001)) in [(one.text, one.start) for one in spans]
    clips = sorted(path.name for path in (folder / "audio").glob("s001_*.wav"))
    assert clips == ["s001_1.wav", "s001_2.wav"]
    assert len(load_audio(folder / "audio/s001_1.wav")) / 16000 == pytest.approx(WORD_SECONDS + 0.1, abs=0.3)


def test_a_second_run_says_the_same(root: Path, result: dict) -> None:
    assert run(root, "--clips", 2) == result


def test_names_go_onto_every_place_and_what_was_rejected_stays_away(root: Path, result: dict) -> None:
    places = [row | {"decision": "accepted"} for row in result["phrases"][0]["occurrences"]]
    places[-1]["decision"] = "rejected"
    said = {"name": "ava & co", "gloss": "person", "gloss_audio": SAID, "occurrences": places[1:]}
    kind = {"format": "oral-units phrase names", "format_version": 1, "language": LANGUAGE}
    write_json(root / "names.json", kind | {"phrases": [said]})
    named = run(root, "--names", root / "names.json", "--clips", 1, "--lift_language", "gn")["phrases"]
    phrase = next(row for row in named if row["name"])
    assert (phrase["name"], phrase["gloss"]) == ("ava & co", "person")
    assert [place_of(row) for row in phrase["occurrences"]] == [place_of(place) for place in places[:-1]]
    assert [place["id"] for place in phrase["rejected"]] == [places[-1]["id"]]  # for the next file
    entries = ElementTree.parse(root / "dictionary/phrases.lift").getroot().findall("entry")
    entry = next(one for one in entries if one.find("sense/gloss") is not None)
    assert entry.find("citation/form[@lang='gn']/text").text == "ava & co"
    assert entry.find("sense/gloss[@lang='en']/text").text == "person"
    assert (root / "dictionary/audio" / entry.find("pronunciation/media").get("href")).is_file()
    spoken = entry.find("sense/definition/form[@lang='en-Zxxx-x-audio']/text").text
    assert phrase["gloss_audio"] == f"audio/{spoken}"
    assert len(load_audio(root / "dictionary/audio" / spoken)) == pytest.approx(8000, abs=50)
    assert not (root / "dictionary/audio/s001_2.wav").exists()  # of the run before, which cut two of each
    assert len({one.get("guid") for one in entries}) == len(entries) == len(named)
    check_lift(root / "dictionary/phrases.lift")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min_seconds", "3.5"], "expected stretches of speech that come back, found none"),
        (["--min_seconds", "0"], "min_seconds"),
        (["--max_false_share", "2"], "max_false_share"),
        (["--gloss_language", "español"], "expected a language's code, such as gn"),
    ],
)
def test_mistakes_are_one_line(root: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(root, *flags)
