"""annotations/: what linguists' tools write is read; what is written opens in another reader and comes back."""

from pathlib import Path

import pytest

from annotations.read_annotations import linked_media, parse_seconds, read_annotations
from annotations.spans import Span, choose_text_tiers, tier_names
from annotations.write_annotations import FORMATS, write_annotations
from core.errors import UserError

SPANS = [
    Span("tx@Maria", 0.5, 2.25, "ʔawa ẽ sa’o", "Maria"),
    Span("tx@João", 2.0, 3.5, 'ele disse "sim", não', "João"),
    Span("tx@Maria", 3.0, 4.125, "ẽ ĩ ũ ỹ", "Maria"),
    Span("notes", 0.5, 4.125, "wind & <rain>"),
]
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/archive/story%201.wav" MIME_TYPE="audio/x-wav"
 RELATIVE_MEDIA_URL="./story 1.wav"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3000"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="5000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="utt" PARTICIPANT="Maria" TIER_ID="ref@SP1">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>001</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>002</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="tx" PARENT_REF="ref@SP1" TIER_ID="tx@SP1">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>wakʼa toi</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a2">
<ANNOTATION_VALUE>nã</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="word" PARENT_REF="tx@SP1" TIER_ID="word@SP1">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a3" PREVIOUS_ANNOTATION="a5">
<ANNOTATION_VALUE>toi</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a3">
<ANNOTATION_VALUE>wakʼa</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def write(folder: Path, form: str, spans: list[Span] = SPANS) -> Path:
    path = folder / f"story{FORMATS[form]}"
    write_annotations(path, spans, form=form, media=folder / "story.wav", seconds=5.0)
    return path


@pytest.mark.parametrize("form", ["eaf", "textgrid", "csv"])
def test_a_round_trip_keeps_tiers_times_and_letters(tmp_path: Path, form: str) -> None:
    found = read_annotations(write(tmp_path, form))
    # Praat knows no speakers: they are read from "tx@Maria".
    assert sorted(span[:5] for span in found) == sorted(span[:5] for span in SPANS)


@pytest.mark.parametrize("form", ["srt", "audacity"])
def test_a_round_trip_without_tiers_keeps_times_and_letters(tmp_path: Path, form: str) -> None:
    found = read_annotations(write(tmp_path, form))
    labels = {(span.start, span.end, f"{span.tier}: {span.text}") for span in SPANS}
    if form == "audacity":
        assert {(span.start, span.end, span.text) for span in found} == labels
    else:  # marks are not text in subtitles
        assert {span[1:3] for span in found} == {label[:2] for label in labels}
        assert "tx@Maria: ẽ ĩ ũ ỹ" in {span.text for span in found}


def test_an_eaf_opens_in_another_reader_without_loss(tmp_path: Path) -> None:
    from pympi import Eaf

    found = Eaf(str(write(tmp_path, "eaf")))
    assert {(tier, *row) for tier in found.get_tier_names() for row in found.get_annotation_data_for_tier(tier)} == {
        (span.tier, round(span.start * 1000), round(span.end * 1000), span.text) for span in SPANS
    }
    assert found.get_parameters_for_tier("tx@Maria")["PARTICIPANT"] == "Maria"
    assert linked_media(write(tmp_path, "eaf")) == ["story.wav"]
    assert not list(tmp_path.glob("*.bak")) and not list(tmp_path.glob(".*"))


def test_a_textgrid_opens_in_praat(tmp_path: Path) -> None:
    import parselmouth

    grid = parselmouth.read(str(write(tmp_path, "textgrid")))
    n_tiers = parselmouth.praat.call(grid, "Get number of tiers")
    names = {parselmouth.praat.call(grid, "Get tier name", number + 1) for number in range(n_tiers)}
    assert names == {span.tier for span in SPANS}


def test_what_overlaps_on_one_tier_goes_to_further_ones(tmp_path: Path) -> None:
    spans = [Span("a", 0.0, 2.0, "one"), Span("a", 1.0, 3.0, "two"), Span("a", 2.0, 4.0, "three")]
    found = read_annotations(write(tmp_path, "textgrid", spans))
    assert {(span.tier, span.text) for span in found} == {("a", "one"), ("a_2", "two"), ("a", "three")}


def test_elan_annotations_that_refer_to_others_have_times(tmp_path: Path) -> None:
    (tmp_path / "story.eaf").write_text(EAF, encoding="utf-8")
    found = read_annotations(tmp_path / "story.eaf")
    assert linked_media(tmp_path / "story.eaf") == ["story 1.wav"]
    by_tier = {tier: [span for span in found if span.tier == tier] for tier in tier_names(found)}
    # ts2 is left open: it lies half-way between its neighbours.
    assert [(span.start, span.end, span.text) for span in by_tier["tx@SP1"]] == [
        (1.0, 2.0, "wakʼa toi"),
        (3.0, 5.0, "nã"),
    ]
    assert [(span.start, span.end, span.text) for span in by_tier["word@SP1"]] == [
        (1.0, 1.5, "wakʼa"),
        (1.5, 2.0, "toi"),
    ]
    # The participant of a tier counts more than its name, also for tiers that depend on it.
    assert {span.speaker for span in by_tier["ref@SP1"]} == {"Maria"}
    assert {span.speaker for span in by_tier["tx@SP1"]} == {"Maria"}
    assert choose_text_tiers(found) == ["tx@SP1"]
    assert choose_text_tiers(found, ["word"]) == ["word@SP1"]


def test_tiers_without_usual_names_are_text_unless_notes_or_dependent() -> None:
    spans = [Span("Ana", 0, 1, "a"), Span("Notes", 0, 1, "b"), Span("Ana-gloss", 0, 1, "c", parent="Ana")]
    assert choose_text_tiers(spans) == ["Ana"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_a_short_textgrid_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "3", "<exists>", "1"]
    lines += ['"IntervalTier"', '"phrase"', "0", "3", "2", "0", "1", '""', "1", "3", '"nã ""sa"""']
    (tmp_path / "a.TextGrid").write_bytes("\n".join(lines).encode(encoding))
    assert [span[:4] for span in read_annotations(tmp_path / "a.TextGrid")] == [("phrase", 1.0, 3.0, 'nã "sa"')]


def test_voices_of_webvtt_are_speakers(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.500\n<v Maria>bom <i>dia</i>\n\n00:00:03.000 --> 00:00:04.000\noi\n"
    (tmp_path / "a.vtt").write_text(text)
    found = read_annotations(tmp_path / "a.vtt")
    assert [(span.start, span.end, span.text) for span in found] == [(1.0, 2.5, "bom dia"), (3.0, 4.0, "oi")]
    assert found[0].speaker == "Maria"


def test_a_table_with_other_names_and_clock_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Von;Bis;Gloss;Wer\n0:01,5;0:02;nã;Ana\n1:00:02;1:00:03;sa;\n", encoding="cp1252")
    columns = {"start": "von", "end": "bis", "text": "gloss", "speaker": "wer"}
    found = read_annotations(tmp_path / "a.csv", columns=columns)
    assert [(span.start, span.end, span.text, span.speaker) for span in found] == [
        (1.5, 2.0, "nã", "Ana"),
        (3602.0, 3603.0, "sa", None),
    ]


@pytest.mark.parametrize("suffix", [".eaf", ".TextGrid", ".txt", ".srt", ".csv", ".xlsx", ".docx"])
def test_a_file_that_is_none_is_one_line_with_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_text("this is\nno annotation {at} <all\n")
    try:
        assert read_annotations(path) == []  # a subtitle file without any subtitle
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_times_that_run_backwards_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("2.0\t1.0\tword\n")
    with pytest.raises(UserError, match="found 2.0 and 1.0 for 'word'"):
        read_annotations(tmp_path / "a.txt")


def test_seconds_in_every_spelling() -> None:
    assert [parse_seconds(cell, "") for cell in ("12.5", "12,5", "0:12.5", "1:00:12,5")] == [12.5, 12.5, 12.5, 3612.5]
