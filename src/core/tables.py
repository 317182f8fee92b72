"""Tables that people write: any encoding, any separator, quoted or not, from an editor or a spreadsheet; our own."""

import csv
import datetime
import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from core.files import write_atomically

log = logging.getLogger("oral_units")

SPREADSHEETS = (".xlsx", ".xlsm")
DELIMITERS = ("\t", ";", ",", "|")
# Byte order marks, the longer ones first: UTF-32's begins as UTF-16's does.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
EXCELS_HINT = re.compile(r"sep=(.)\r?\n?$")  # a first line by which Excel learns the separator
CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")
WESTERN_RUN = 1.8  # bytes beyond ASCII in a row, on average
# What Windows calls ANSI in the west; guesses such as cp1250 and mac_roman are hardly ever better.
WESTERN = ("cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "latin_1", "iso8859", "mac_", "hp_roman", "cp437", "cp85")


def read_text(path: Path, encoding: str | None = None) -> str:
    """The text of a file. Its encoding is ``encoding``, or what its first bytes say, or UTF-8, or a guess that is said.

    Raises UserError where there is no file, or bytes that are no text in that encoding.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a text file, found none that can be read ({error.strerror})") from error
    found = encoding or find_encoding(content)
    try:
        text = content.decode(found)
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{path}: expected text in {found}, found {error}; save it as UTF-8") from error
    if not encoding and not found.startswith("utf"):
        log.warning("%s: is not UTF-8; read as %s; save it as UTF-8 if letters look wrong", path, found)
    if "\0" in text:
        raise UserError(f"{path}: expected text, found bytes that are none; save it as UTF-8")
    return text


def find_encoding(content: bytes) -> str:
    """The encoding of a text: by its byte order mark, else UTF-8 where it is valid, else the likeliest."""
    for mark, name in MARKS:
        if content.startswith(mark):
            return name
    try:
        content.decode("utf-8")
        if b"\0" not in content:
            return "utf-8"
    except UnicodeDecodeError:
        pass
    # Every second byte of plain letters is zero in UTF-16, which Notepad writes.
    for name, zeros in (("utf-16-le", content[1::2]), ("utf-16-be", content[::2])):
        if zeros.count(0) > len(zeros) / 3:
            return name
    return guess_encoding(content)


def guess_encoding(content: bytes) -> str:
    """The likeliest legacy encoding; western ones are all taken for Windows' cp1252, which Excel writes.

    Western letters with accents stand alone or in pairs among plain ones, those of other scripts in whole words. A few
    words are too little for any other guess.
    """
    runs = re.findall(rb"[\x80-\xff]+", content)
    if sum(map(len, runs)) < WESTERN_RUN * len(runs) and is_decodable(content, "cp1252"):
        return "cp1252"
    from charset_normalizer import from_bytes  # takes a quarter of a second to import

    best = from_bytes(content).best()
    if best is None or best.encoding.startswith(WESTERN):
        return "cp1252" if is_decodable(content, "cp1252") else "latin-1"
    return best.encoding


def is_decodable(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def read_rows(path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> list[tuple[int, list[str]]]:
    """(line or row number, cells) of every row of a table that is not empty; cells are stripped and in NFC.

    Text is parted by ``delimiter``, by default the one of tab, semicolon, comma and bar that the first line holds.
    Quotes are read as Excel writes them where the whole file keeps to that, else as they stand.
    """
    if Path(path).suffix.lower() in SPREADSHEETS:
        numbered = read_spreadsheet(path)
    else:
        numbered = split_rows(split_lines(read_text(path, encoding)), delimiter)
    rows = [(number, [unicodedata.normalize("NFC", cell.strip()) for cell in cells]) for number, cells in numbered]
    return [(number, cells) for number, cells in rows if any(cells)]


def split_lines(text: str) -> list[str]:
    """Lines with their ends. Only line feeds and carriage returns end one: a cell may hold other breaks of a page."""
    return list(io.StringIO(text, newline=""))


def find_delimiter(lines: Sequence[str]) -> str:
    first = next((line for line in lines if line.strip()), "")
    return max(DELIMITERS, key=lambda mark: (first.count(mark) > 0, mark == "\t", first.count(mark)))


def split_rows(lines: Sequence[str], delimiter: str | None = None) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line. Quotes that do not follow Excel's rules are letters like others."""
    hint = EXCELS_HINT.match(lines[0]) if lines else None
    skipped, lines = (1, lines[1:]) if hint else (0, lines)
    delimiter = delimiter or (hint.group(1) if hint else find_delimiter(lines))
    reader, rows, before = csv.reader(lines, delimiter=delimiter, strict=True), [], 0
    try:
        for cells in reader:
            rows.append((before + 1 + skipped, cells))
            before = reader.line_num
    except csv.Error:
        rows = []
    if not rows or has_swallowed(rows):
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        rows = [(number, cells) for number, cells in enumerate(reader, 1 + skipped)]
    return rows


def has_swallowed(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether one quote at the start of a text swallowed the lines up to the next: rows have unequal lengths then."""
    lengths = {len(cells) for _, cells in rows if any(cells)}
    return len(lengths) > 1 and any("\n" in cell or "\r" in cell for _, cells in rows for cell in cells)


def read_spreadsheet(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a workbook's first sheet; times of day become seconds, merged cells all hold what stands in them."""
    import openpyxl  # takes a quarter of a second to import

    try:
        book = openpyxl.load_workbook(path, data_only=True)
        sheet = book.worksheets[0]
        rows = [[cell_text(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        for block in sheet.merged_cells.ranges:
            top, left = block.min_row - 1, block.min_col - 1
            for row in rows[top : block.max_row]:
                row[left : block.max_col] = [rows[top][left]] * (block.max_col - left)
        book.close()
    except Exception as error:  # the library raises whatever a damaged archive makes it raise
        raise UserError(f"{path}: expected a workbook of Excel, found: {error}; save it as CSV") from error
    return list(enumerate(rows, 1))


def cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.time):
        return str(value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6)
    if isinstance(value, datetime.timedelta):
        return str(value.total_seconds())
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> list[tuple[int, dict[str, str]]]:
    """(row number, {column: cell}) of every row after the header.

    columns: those that must be there; ``optional`` ones are "" where they are not. The first row names them, in any
    order and case; others are left alone. ``names`` says what a column is called in this table ({"text": "gloss"}).
    Without a row of names, the columns are ``columns``, in their order. Raises UserError for a column that is missing
    and for a row with too many or too few cells.
    """
    return name_cells(path, read_rows(path, encoding=encoding), columns, optional=optional, names=names)


def name_cells(
    path: Path,
    rows: list[tuple[int, list[str]]],
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> list[tuple[int, dict[str, str]]]:
    """``read_table`` for the ``rows`` that ``read_rows`` found in ``path``."""
    if not rows:
        return []
    wanted = {column: (names or {}).get(column, column).casefold() for column in (*columns, *optional)}
    header = [cell.casefold() for cell in rows[0][1]]
    places = {column: header.index(name) for column, name in wanted.items() if name in header}
    if places:
        missing = [wanted[column] for column in columns if column not in places]
        if missing:
            found = " ".join(", ".join(rows[0][1]).split())
            raise UserError(f"{path}: expected the columns {', '.join(missing)}, found {found}; name them in line 1")
        rows = rows[1:]
    else:
        places, header = {column: place for place, column in enumerate(columns)}, list(columns)
    for number, cells in rows:
        if len(cells) > len(header) and any(cells[len(header) :]) or len(cells) <= max(places.values()):
            raise UserError(
                f"{path}, line {number}: expected {len(header)} columns ({', '.join(header)}), found {len(cells)}; "
                "repair the line"
            )
    return [
        (number, {column: cells[places[column]] if column in places else "" for column in wanted})
        for number, cells in rows
    ]


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A header and rows as UTF-8 text, parted by tabs; written whole or not at all."""
    lines = ["\t".join(map(str, row)) + "\n" for row in [header, *rows]]
    write_atomically(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))


def parse_seconds(cell: str, where: str) -> float:
    """``12.5``, ``12,5``, ``0:12.5`` and ``1:00:12,5`` in seconds; ``where`` it stands, for the UserError."""
    clock = CLOCK.fullmatch(cell.strip())
    if clock:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    try:
        return float(cell.replace(",", "."))
    except ValueError as error:
        raise UserError(f"{where}: expected seconds or h:mm:ss, found '{cell}'; repair the line") from error
