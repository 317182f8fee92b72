"""What is written about recordings: whose a text is, by its name, its link or a table, and what belongs to none."""

import unicodedata
from pathlib import Path

import pytest

from annotations.spans import Span
from annotations.write_annotations import write_annotations
from report.inspection import Folder, list_advice
from report.recording_texts import KnownTexts, read_known_texts

SOURCES = ("a.wav", "far/b.mp3", "c.wav")


@pytest.fixture
def known(tmp_path: Path) -> KnownTexts:
    spans = [Span("text@ana", 0.5, 2.0, "uno", "ana"), Span("text@eva", 2.0, 2.5, "dos", "eva")]
    for name, media in (("a.eaf", "a.wav"), ("renamed.eaf", "b.mp3"), ("nobody.eaf", "gone.wav")):
        write_annotations(tmp_path / name, spans, form="eaf", media=tmp_path / media, seconds=5.0)
    (tmp_path / "far").mkdir()
    (tmp_path / "transcripts.tsv").write_text("a.wav\tuno\na.wav\tdos\nlost.wav\ttres\n", encoding="utf-8")
    (tmp_path / "speakers.tsv").write_text("source\tspeaker\nc.wav\tpia\nlost.wav\tana\n", encoding="utf-8")
    (tmp_path / "c.txt").write_text("only words\n", encoding="utf-8")
    (tmp_path / "c.eaf").write_text("no XML", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("words of nobody", encoding="utf-8")
    (tmp_path / "far" / "transcripts.tsv").write_text("deeper tables count for nothing", encoding="utf-8")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    return read_known_texts(tmp_path, files, {source: tmp_path / source for source in SOURCES})


def test_texts_belong_to_the_recording_of_their_name_or_link(known: KnownTexts) -> None:
    assert known.texts == {"a.wav": 4, "far/b.mp3": 2}  # two of the table, two of its annotations
    assert known.tiers == {"text@ana": 2, "text@eva": 2}
    assert known.spoken_seconds == {"ana": 3.0, "eva": 1.0}


def test_bare_names_find_the_one_recording_and_several_are_asked_for_their_folder(tmp_path: Path) -> None:
    (tmp_path / "speakers.csv").write_text("source,speaker\nb.wav,ana\na.wav,eva\n", encoding="utf-8")
    sources = {name: tmp_path / name for name in ("x/a.wav", "y/a.wav", "y/b.wav")}
    found = read_known_texts(tmp_path, [tmp_path / "speakers.csv"], sources)
    assert found.speaker_of == {"y/b.wav": "ana"}
    (line,) = list_advice(Folder("x", [{"source": name, "speech_seconds": 900.0} for name in sources], {}, {}, found))
    assert line.endswith("a.wav (speakers.csv); in several folders there is a.wav: write the folder too, as in x/a.wav")


def test_a_link_in_letters_of_a_mac_is_followed(tmp_path: Path) -> None:
    path, as_on_a_mac = tmp_path / "renamed.eaf", unicodedata.normalize("NFD", "é.wav")
    write_annotations(path, [Span("text", 0, 1, "x")], form="eaf", media=tmp_path / as_on_a_mac, seconds=1.0)
    assert read_known_texts(tmp_path, [path], {"é.wav": tmp_path / as_on_a_mac}).texts == {"é.wav": 1}


def test_annotations_end_with_their_recording(tmp_path: Path) -> None:
    spans = [
        Span("text@ana", 0.5, 2.0, "uno", "ana"),
        Span("text@ana", 1.5, 3.0, "over it", "ana"),
        Span("text@eva", 7.0, 9.0, "half", "eva"),
        Span("text@eva", 9.0, 99.0, "far away", "eva"),
    ]
    write_annotations(tmp_path / "a.eaf", spans, form="eaf", media=tmp_path / "a.wav", seconds=99.0)
    found = read_known_texts(tmp_path, [tmp_path / "a.eaf"], {"a.wav": tmp_path / "a.wav"}, {"a.wav": 8.0})
    assert found.spoken_seconds == {"ana": 2.5, "eva": 1.0} and found.outside == {"a.wav": 1}
    assert found.texts == {"a.wav": 3}
    said = list_advice(Folder("x", [], {}, {}, found))
    assert said[0].startswith("1 annotation outside the recording, left out;") and said[0].endswith(": a.wav")


def test_speakers_are_those_of_tables_and_tiers(known: KnownTexts) -> None:
    assert known.speaker_of == {"c.wav": "pia"}
    assert known.speakers == {"pia": 1, "ana": 2, "eva": 2}


def test_what_belongs_to_no_recording_is_named(known: KnownTexts) -> None:
    assert sorted(known.unmatched) == ["lost.wav (speakers.tsv)", "lost.wav (transcripts.tsv)", "nobody.eaf"]
    assert known.plain == ["c.txt"] and set(known.unreadable) == {"c.eaf"}
    assert not known.unreadable["c.eaf"].startswith("/")
    assert sorted(known.files) == ["a.eaf", "nobody.eaf", "renamed.eaf", "speakers.tsv", "transcripts.tsv"]
