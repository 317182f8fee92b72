"""Transcripts, speakers, and which text lies in which segment."""

import pytest

from core.errors import UserError
from segmentation.tables import read_speakers, read_transcripts, texts_of_segments


def test_texts_inside_a_segment_and_texts_cut_through():
    texts = [(0.1, 1.0, "one"), (1.5, 3.0, "two"), (4.0, 8.0, "three"), (9.0, 11.0, "lost")]
    assert texts_of_segments([(0.0, 3.1), (3.9, 8.2)], texts) == (["one two", "three"], 1)
    assert texts_of_segments([(0.0, 3.1), (3.9, 6.0), (6.1, 8.2)], texts) == (["one two", None, None], 2)
    assert texts_of_segments([(0.0, 3.1)], [(0.0, float("inf"), "whole")]) == (["whole"], 0)
    assert texts_of_segments([(0.0, 3.0), (4.0, 8.0)], [(0.0, float("inf"), "whole")]) == ([None, None], 1)
    assert texts_of_segments([], texts) == ([], 4)


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
