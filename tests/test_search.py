"""search.py as a person runs it: a planted word is found where it lies, and what is wrong is one line."""

import csv
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import pytest

import index_speech
import search
from search_examples import LANGUAGE, WORD_SECONDS, Planted, write_language

from annotations.read_annotations import read_annotations
from audio.audio_io import save_audio
from core.errors import UserError
from core.files import read_json, write_json
from spoken_search import choices
from spoken_search.own_places import own_places
from spoken_search.queries import QueryClip
from synthetic import speech_like, write_mp3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def planted(root: Path) -> Planted:
    found = write_language(root / "data")
    save_audio(root / "word.wav", found.word)
    # As a telephone writes it: other rate, two channels, silence around it.
    around = np.zeros(8000, np.float32)
    write_mp3(root / "word.m4a", np.tile(np.concatenate([around, 0.5 * found.word, around]), (2, 1)))
    return found


@pytest.fixture(scope="module", autouse=True)
def roots(root: Path, planted: Planted) -> Iterator[None]:
    """Folders of the tests' own, and an index of few centroids in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(root / "data"))
        patch.setenv("EXP_ROOT", str(root / "exp"))
        patch.setattr(choices, "N_CENTROIDS", 32)
        assert index_speech.main(["--language", LANGUAGE, "--quiet", "--device", "cpu"]) == 0
        yield


def run(root: Path, *flags: object) -> dict:
    out = root / "found"
    words = ["--language", LANGUAGE, "--quiet", "--device", "cpu", "--num_workers", "1", "--n_hits", "6"]
    assert search.main([*words, "--out", str(out), *map(str, flags)]) == 0
    return read_json(out / "hits.json")


def found_ids(result: dict, planted: Planted) -> list[str]:
    """The segments of the best hits, as many as there are words; their times must be right."""
    best = result["hits"][: len(planted.places)]
    for hit in best:
        assert hit["audio_start"] == pytest.approx(planted.places[hit["id"]], abs=0.06)
        assert hit["audio_end"] == pytest.approx(planted.places[hit["id"]] + WORD_SECONDS, abs=0.08)
        assert hit["start"] == pytest.approx(10 + hit["audio_start"])
    return sorted(hit["id"] for hit in best)


@pytest.mark.parametrize("query", ["word.wav", "word.m4a"])
def test_the_word_is_found_where_it_is_said(root: Path, planted: Planted, query: str) -> None:
    result = run(root, "--query", root / query)
    assert found_ids(result, planted) == sorted(planted.places)
    hits = result["hits"]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    likely = [hit["probability"] for hit in hits]
    assert likely == sorted(likely, reverse=True)
    assert hits[3]["score"] > 1.4 * hits[4]["score"]
    spans = [(hit["id"], hit["audio_start"], hit["audio_end"]) for hit in hits]
    for number, (name, start, end) in enumerate(spans):
        assert all(name != other or end <= first or last <= start for other, first, last in spans[number + 1 :])


def test_tables_and_tiers_say_the_same(root: Path, planted: Planted) -> None:
    result = run(root, "--query", root / "word.wav", "--word", "ava", "--format", "eaf", "csv", "--n_hits", 3)
    assert len(result["hits"]) == 3
    with open(root / "found/hits.csv", encoding="utf-8-sig", newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [row["source"] for row in table] == [hit["source"] for hit in result["hits"]]
    first = result["hits"][0]
    spans = read_annotations(root / "found/annotations" / Path(first["source"]).with_suffix(".eaf"))
    assert (spans[0].tier, spans[0].start) == ("ava", pytest.approx(first["start"], abs=0.001))


def test_a_part_of_a_recording_is_a_query_and_several_are_one_search(root: Path, planted: Planted) -> None:
    name, start = next(iter(planted.places.items()))
    part = f"{root / 'data' / LANGUAGE / 'segments' / name}.wav@{start}-{start + WORD_SECONDS}"
    result = run(root, "--query", part, root / "word.m4a")
    others = sorted(set(planted.places) - {name})  # its own place is no hit
    assert sorted(hit["id"] for hit in result["hits"][: len(others)]) == others
    assert len(result["queries"]) == 2


def test_accepted_hits_become_queries_and_rejected_ones_stay_away(root: Path, planted: Planted) -> None:
    hits = run(root, "--query", root / "word.wav")["hits"]
    decided = [dict(hits[0], decision="accepted"), dict(hits[-1], decision="rejected")]
    content = {"format": "oral-units search decisions", "format_version": 1, "language": LANGUAGE, "word": ""}
    write_json(root / "decisions.json", content | {"decisions": decided})
    again = run(root, "--accepted", root / "decisions.json")
    assert found_ids(again, planted) == sorted(planted.places)
    assert again["hits"][0]["decision"] == "accepted"
    gone = (hits[-1]["id"], hits[-1]["audio_start"])
    assert gone not in [(hit["id"], hit["audio_start"]) for hit in again["hits"]]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(16000), "found silence"),
        (speech_like(3.0, seed=77)[:2400], "expected at least 0.2 s of speech, found 0.1"),
        (speech_like(12.0, seed=1), "up to 10 s, found 1"),
    ],
)
def test_a_query_that_cannot_be_found_is_one_line(root: Path, samples: np.ndarray, message: str) -> None:
    save_audio(root / "bad.wav", samples)
    with pytest.raises(UserError, match=message):
        run(root, "--query", root / "bad.wav")


WORD = "the clip of the word"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "expected a clip of the word, as in --query word.wav"),
        (["--query", "nothing.wav"], "nothing.wav: expected an audio file, found none"),
        (["--query", "story.mp3@3-x"], "FILE@START-END in seconds"),
        (["--query", "word.wav", "--out", "/proc/x"], "/proc/x: cannot be written to"),
        (["--query", "story.mp3@0:03-0:02.5"], "a start before the end"),
        (["--query", "story.mp3@3-2"], "a start before the end"),
        (["--query", WORD, "--seed", "1", "--encoder", "mfcc"], "seed 1, found 0"),
        (["--query", WORD, "--encoder", "mfcc", "--padding", "short"], "expected Whisper"),
    ],
)
def test_mistakes_are_one_line(root: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(root, *(root / "word.wav" if flag == WORD else flag for flag in flags))


def test_other_recordings_make_the_index_out_of_date(root: Path) -> None:
    manifest = root / "data" / LANGUAGE / "segments.jsonl"
    before = manifest.read_text(encoding="utf-8")
    try:
        rows = [json.loads(line) for line in before.splitlines()]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]), encoding="utf-8")
        with pytest.raises(UserError, match=f"added or cut again; run: python .*--language {LANGUAGE} --overwrite"):
            run(root, "--query", root / "word.wav")
        with pytest.raises(UserError, match="nothing.wav: expected an audio file, found none"):
            run(root, "--query", "nothing.wav")
    finally:
        manifest.write_text(before, encoding="utf-8")


def test_the_first_search_makes_the_index(root: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--query", root / "word.wav", "--tag", "b", "--encoder", "logmel", "--n_hits", 1]
    assert run(root, *flags)["encoder"] == "logmel"
    assert "no index yet" in capsys.readouterr().err and (root / "exp" / f"{LANGUAGE}_index_b/index.json").is_file()


def test_a_language_without_recordings_is_one_line(root: Path) -> None:
    with pytest.raises(UserError, match="unknown language 'nosuch'"):
        search.main(["--language", "nosuch", "--query", str(root / "word.wav"), "--out", str(root / "x")])


def test_the_place_that_a_query_was_cut_from_is_no_hit(root: Path, planted: Planted, capsys) -> None:
    name, start = min(planted.places.items())
    audio = root / "data" / LANGUAGE / "segments" / f"{name}.wav"
    result = run(root, "--query", f"{audio}@{start:.2f}-{start + WORD_SECONDS:.2f}")
    assert sorted({hit["id"] for hit in result["hits"][: len(planted.places) - 1]}) == sorted(planted.places)[1:]
    assert not any(hit["id"] == name and abs(hit["audio_start"] - start) < 0.1 for hit in result["hits"])
    assert "its own place is no hit" in capsys.readouterr().err


def test_a_query_is_known_in_its_recording_whatever_form_its_name_has(tmp_path: Path) -> None:
    as_on_a_mac = unicodedata.normalize("NFD", "é 12.wav")
    recording, copy = tmp_path / "raw" / as_on_a_mac, tmp_path / "é 12.wav"
    for path in (recording, copy):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"sound")
    index = SimpleNamespace(segments=[{"audio": "x/a.wav", "source": "é 12.wav"}], bounds=np.arange(2) * 250)
    for path in (recording, copy):
        found = own_places(index, [QueryClip(path, 0.5, 1.5)], tmp_path / "raw", lambda audio: tmp_path / audio)
        assert [place[:3] for place, _ in found] == [(0, 25, 75)]


def test_a_query_is_known_in_its_recording_by_the_recordings_times(tmp_path: Path) -> None:
    recording, copy = tmp_path / "raw" / "tale.mp3", tmp_path / "mine" / "tale.mp3"
    for path in (recording, copy):
        path.parent.mkdir()
        path.write_bytes(b"sound")
    rows = [
        {"audio": "x/a.wav", "source": "tale.mp3", "start": 10.0},
        {"audio": "x/b.wav", "source": "tale.mp3", "start": 20.0},
        {"audio": "x/c.wav", "parts": [{"source": "o.mp3", "start": 0.0, "offset": 0.0}]},
        {"audio": "x/d.wav", "source": "other.mp3", "start": 20.0},
    ]
    rows[2]["parts"].append({"source": "tale.mp3", "start": 21.0, "offset": 2.0})
    index = SimpleNamespace(segments=rows, bounds=np.arange(5) * 250)
    for path in (recording, copy):
        clips = [QueryClip(path, 21.5, 22.5)]
        found = own_places(index, clips, tmp_path / "raw", lambda audio: tmp_path / audio)
        assert [place[:3] for place, _ in found] == [(1, 75, 125), (2, 125, 175)]
