"""Transcripts, speakers, and which text lies in which segment."""

import openpyxl
import pytest

from core.errors import UserError
from segmentation.tables import (
    find_table,
    match_names,
    read_speakers,
    read_transcripts,
    say_missing_folders,
    texts_of_segments,
)


def test_a_bare_name_is_that_of_the_one_recording_that_has_it():
    sources = ["x/a.wav", "y/a.wav", "y/b.wav", "c.wav", "z/c.wav"]
    table = {"a.wav": 1, "b.wav": 2, "c.wav": 3, "x/a.wav": 4, "gone.wav": 5}
    assert match_names(table, sources) == {"a.wav": 1, "y/b.wav": 2, "c.wav": 3, "x/a.wav": 4, "gone.wav": 5}
    said = "; in several folders there is a.wav: write the folder too, as in x/a.wav"
    assert say_missing_folders(["gone.wav", "a.wav"], sources) == said == say_missing_folders(["a.wav"], sources[::-1])
    assert match_names({"b.wav": 1, "y/b.wav": 2}, sources) == {"b.wav": 1, "y/b.wav": 2}


def test_texts_inside_a_segment_and_texts_cut_through():
    texts = [(0.1, 1.0, "one"), (1.5, 3.0, "two"), (4.0, 8.0, "three"), (9.0, 11.0, "lost")]
    assert texts_of_segments([(0.0, 3.1), (3.9, 8.2)], texts) == (["one two", "three"], {"in silence": 1})
    assert texts_of_segments([(0.0, 3.1), (3.9, 6.0), (6.1, 8.2)], texts) == (
        ["one two", None, None],
        {"cut through by a pause": 1, "in silence": 1},
    )
    assert texts_of_segments([(0.0, 3.1)], [(0.0, float("inf"), "whole")]) == (["whole"], {})
    assert texts_of_segments([(0.0, 3.0), (4.0, 8.0)], [(0.0, float("inf"), "whole")]) == (
        [None, None],
        {"cut through by a pause": 1},
    )
    assert texts_of_segments([], texts) == ([], {"in silence": 4})
    texts = [(0.0, 1.0, "one"), (2.0, 6.0, "halved")]
    assert texts_of_segments([(0.0, 4.0), (4.0, 8.0)], texts) == (
        [None, None],
        {"cut through by a pause": 1, "in a segment with a part of another text": 1},
    )


def test_tables(tmp_path):
    table = tmp_path / "transcripts.tsv"
    table.write_text(
        'source\tstart\tend\ttext\nb.mp3\t2\t3\tsecond\nb.mp3\t0.5\t1.5\tdice "sí"\na.mp3\t\t\tall of it\n'
    )
    assert read_transcripts(table) == {
        "b.mp3": [(0.5, 1.5, 'dice "sí"'), (2.0, 3.0, "second")],
        "a.mp3": [(0.0, float("inf"), "all of it")],
    }
    (tmp_path / "speakers.tsv").write_text("a.mp3\tana\n")
    assert read_speakers(tmp_path / "speakers.tsv") == {"a.mp3": "ana"}


@pytest.mark.parametrize("line", ["a.mp3\t1\t2", "a.mp3\tone\t2\ttext", "a.mp3\t3\t2\ttext", "a.mp3\t-1\t2\ttext"])
def test_a_bad_line_is_named(tmp_path, line):
    table = tmp_path / "transcripts.tsv"
    table.write_text("source\tstart\tend\ttext\n" + line + "\n")
    with pytest.raises(UserError, match="transcripts.tsv"):
        read_transcripts(table)


def test_quotes_of_excel_and_letters_of_windows(tmp_path):
    """Excel quotes a text with quotes in it; Notepad writes UTF-16, Excel the letters of Windows."""
    table = tmp_path / "transcripts.tsv"
    written = 'source\tstart\tend\ttext\r\na.wav\t0,5\t2.5\t"Ela disse, ""água"""\r\nb.wav\t\t\tnão\r\n'
    for encoding in ("utf-8", "utf-16", "cp1252"):
        table.write_bytes(written.encode(encoding))
        assert read_transcripts(table) == {
            "a.wav": [(0.5, 2.5, 'Ela disse, "água"')],
            "b.wav": [(0.0, float("inf"), "não")],
        }


def test_columns_by_their_names(tmp_path):
    speakers, texts = tmp_path / "speakers.tsv", tmp_path / "transcripts.tsv"
    speakers.write_text("gender\tSpeaker\tsource\nF\tMaria\ta.wav\n")
    assert read_speakers(speakers) == {"a.wav": "Maria"}
    texts.write_text("source\tstart\tend\ttext\tchecked\na.wav\t0\t9\twater\tyes\n")
    assert read_transcripts(texts) == {"a.wav": [(0.0, 9.0, "water")]}
    for pairs in ("source;text\na.wav;água, fria\n", "a.wav;água, fria\n"):
        texts.write_text(pairs)
        assert read_transcripts(texts) == {"a.wav": [(0.0, float("inf"), "água, fria")]}
    texts.write_text("source\tstart\tend\tgloss\na.wav\t0\t9\twater\n")
    with pytest.raises(UserError, match="expected the columns text, found source, start, end, gloss"):
        read_transcripts(texts)


def test_a_spreadsheet_serves_and_two_tables_do_not(tmp_path):
    book = openpyxl.Workbook()
    for row in (("source", "start", "end", "text"), ("a.wav", None, None, "água"), ("b.wav", 1.5, 3, "fria")):
        book.active.append(row)
    book.save(tmp_path / "transcripts.xlsx")
    table = find_table(tmp_path / "transcripts.tsv")
    assert read_transcripts(table) == {"a.wav": [(0.0, float("inf"), "água")], "b.wav": [(1.5, 3.0, "fria")]}
    assert find_table(tmp_path / "speakers.tsv") is None
    (tmp_path / "transcripts.csv").write_text("a.wav,água\n")
    with pytest.raises(UserError, match="transcripts.csv and transcripts.xlsx"):
        find_table(tmp_path / "transcripts.tsv")
