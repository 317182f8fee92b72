"""core/tables.py: what people type, and what Excel, Notepad and LibreOffice make of it."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.tables import find_encoding, read_rows, read_table, read_text

TEXT = "source\tspeaker\nã.mp3\tJoão Ñandu\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_every_usual_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "table.tsv").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "table.tsv").lstrip("\ufeff") == TEXT


def test_cyrillic_of_windows_is_guessed() -> None:
    text = "Сегодня мы записали рассказ о реке и о рыбах, которые в ней живут. " * 3
    assert text.encode("cp1251").decode(find_encoding(text.encode("cp1251"))) == text


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_bytes(b"ab\0\0\0\0cd\0ef")
    with pytest.raises(UserError, match="expected text"):
        read_text(tmp_path / "table.tsv", "utf-8")
    with pytest.raises(UserError, match="found none that can be read"):
        read_text(tmp_path / "absent.tsv")


@pytest.mark.parametrize("mark", ["\t", ";", ",", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_separator_and_line_end(tmp_path: Path, mark: str, newline: str) -> None:
    (tmp_path / "t.csv").write_bytes(newline.join([f"source{mark}text", f"a{mark}b", "", f"c{mark}d"]).encode())
    assert [cells for _, cells in read_rows(tmp_path / "t.csv")] == [["source", "text"], ["a", "b"], ["c", "d"]]


def test_quotes_as_excel_writes_them(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('source\ttext\na\t"She said, ""come"""\nb\t"two\nlines"\n')
    assert [cells[1] for _, cells in read_rows(tmp_path / "t.tsv")] == ["text", 'She said, "come"', "two\nlines"]


@pytest.mark.parametrize("text", ['"come" she said', 'she "came', '"never closed'])
def test_quotes_as_people_type_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.tsv").write_text(f"source\ttext\na\t{text}\nb\tnext\nc\tlast\n")
    assert [cells[1] for _, cells in read_rows(tmp_path / "t.tsv")] == ["text", text, "next", "last"]


def test_columns_go_by_name_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("Speaker\tSex\tSOURCE\nMaria\tF\ta.mp3\n")
    assert read_table(tmp_path / "t.tsv", ("source", "speaker")) == [(2, {"source": "a.mp3", "speaker": "Maria"})]


def test_columns_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("datei,sprecher\na.mp3,Maria\n")
    found = read_table(tmp_path / "t.csv", ("source", "speaker"), names={"source": "Datei", "speaker": "Sprecher"})
    assert found == [(2, {"source": "a.mp3", "speaker": "Maria"})]


def test_without_a_header_the_order_counts(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a.mp3\tMaria\n")
    assert read_table(tmp_path / "t.tsv", ("source", "speaker")) == [(1, {"source": "a.mp3", "speaker": "Maria"})]


@pytest.mark.parametrize("line", ["a.mp3", "a.mp3\tMaria\tF"])
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.tsv").write_text(f"source\tspeaker\n{line}\n")
    with pytest.raises(UserError, match=r"t\.tsv, line 2: expected 2 columns"):
        read_table(tmp_path / "t.tsv", ("source", "speaker"))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("source\tname\na.mp3\tMaria\n")
    with pytest.raises(UserError, match="expected the columns speaker, found source, name"):
        read_table(tmp_path / "t.tsv", ("source", "speaker"))


def test_a_spreadsheet(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["source", "start", "end", "text"], ["a.mp3", 1.5, 2, "bom dia"], [None] * 4, ["b.mp3", None, None, 3]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    found = [row for _, row in read_table(tmp_path / "t.xlsx", ("source", "start", "end", "text"))]
    assert found[0] == {"source": "a.mp3", "start": "1.5", "end": "2", "text": "bom dia"}
    assert found[1] == {"source": "b.mp3", "start": "", "end": "", "text": "3"}


def test_a_damaged_spreadsheet_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(UserError, match="expected a workbook"):
        read_rows(tmp_path / "t.xlsx")
