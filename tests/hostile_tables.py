"""Hostile tables and annotations, as editors, spreadsheets and mail programs leave them."""

import io
import zipfile
from collections.abc import Callable

import openpyxl

from hostile_sounds import CUT, good_is_cut
from hostile_world import Case, Outcome, World

from annotations.spans import Span
from annotations.write_annotations import write_annotations
from segmentation.manifest import read_manifest

TEXTS = "source\tstart\tend\ttext\ngood.wav\t0\t60\tágua é vida\n"
WHOLE = "source\ttext\ngood.wav\tágua é vida\n"


def table(name: str, held: str | bytes, encoding: str = "utf-8"):
    def write(world: World) -> None:
        (world.data / name).write_bytes(held.encode(encoding) if isinstance(held, str) else held)

    return write


def beside(name: str, held: str | bytes):
    return lambda world: (world.raw / name).write_bytes(held.encode() if isinstance(held, str) else held)


def book(*rows: tuple) -> bytes:
    made, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        made.active.append(row)
    made.save(out)
    return out.getvalue()


def bomb() -> bytes:
    """A workbook whose parts are no XML."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", "<<<")
        archive.writestr("[Content_Types].xml", "<Types/>")
    return out.getvalue()


def text_is(said: str) -> Callable[[World, Outcome], None]:
    def check(world: World, outcome: Outcome) -> None:
        good_is_cut(world, outcome)
        found = {row.get("text") for row in read_manifest(world.data / "segments.jsonl")} - {None}
        assert found == {said}, (found, outcome.said)

    return check


# Tables of texts that are read for what they mean. The text holds for the whole recording.
READ = {
    "UTF-16 of Notepad": table("transcripts.tsv", WHOLE, "utf-16"),
    "UTF-16 without its mark": table("transcripts.tsv", WHOLE, "utf-16-le"),
    "a byte order mark": table("transcripts.tsv", WHOLE, "utf-8-sig"),
    "Latin-1": table("transcripts.tsv", WHOLE, "latin-1"),
    "line ends of Windows": table("transcripts.tsv", WHOLE.replace("\n", "\r\n")),
    "line ends of an old Mac": table("transcripts.tsv", WHOLE.replace("\n", "\r")),
    "no line end at the end": table("transcripts.tsv", WHOLE.rstrip("\n")),
    "Excel's commas and quotes": table("transcripts.csv", 'source,text\r\n"good.wav","água é vida"\r\n'),
    "Excel's semicolons": table("transcripts.csv", "sep=;\r\nsource;text\r\ngood.wav;água é vida\r\n"),
    "accents of their own": table("transcripts.tsv", WHOLE.replace("á", "a\u0301").replace("é", "e\u0301")),
    "capital column names": table("transcripts.tsv", WHOLE.replace("source\ttext", "SOURCE\tText")),
    "columns in another order": table("transcripts.tsv", "text\tsource\nágua é vida\tgood.wav\n"),
    "empty lines and spaces": table("transcripts.tsv", "\n\n" + WHOLE.replace("\t", " \t ") + "\n \n"),
    "a recording that is not there": table("transcripts.tsv", WHOLE + "gone.wav\tx\n"),
    "a workbook": table("transcripts.xlsx", book(("source", "text"), ("good.wav", "água é vida"))),
}

# Tables that cannot be read for what they mean: one line that names file, line and remedy, and nothing is cut.
REFUSED = {
    "an empty table": (table("transcripts.tsv", ""), "transcripts.tsv: expected a table, found an empty file"),
    "a table of zeros": (table("transcripts.tsv", b"\0" * 400), "transcripts.tsv: expected text"),
    "a picture as a table": (table("transcripts.tsv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "transcripts.tsv"),
    "a table cut in the middle of a line": (
        table("transcripts.tsv", TEXTS[:-16]),
        "transcripts.tsv, line 2: expected 4 columns",
    ),
    "a line with one column more": (
        table("transcripts.tsv", TEXTS + "a.wav\t0\t1\tx\ty\n"),
        "line 3: expected 4 columns",
    ),
    "no column of recordings": (
        table("transcripts.tsv", "file\tstart\tend\ttext\na.wav\t0\t1\tx\n"),
        "expected the columns source",
    ),
    "an end before its start": (
        table("transcripts.tsv", TEXTS.replace("0\t60", "60\t0")),
        "line 2: expected 0 <= start < end",
    ),
    "a time below zero": (
        table("transcripts.tsv", TEXTS.replace("0\t60", "-1\t60")),
        "line 2: expected 0 <= start < end",
    ),
    "a time that is no number": (
        table("transcripts.tsv", TEXTS.replace("60", "nan")),
        "line 2: expected 0 <= start < end",
    ),
    "a time in words": (
        table("transcripts.tsv", TEXTS.replace("60", "one minute")),
        "line 2: expected seconds or h:mm:ss",
    ),
    "an error of Excel": (
        table("transcripts.tsv", TEXTS.replace("60", "#REF!")),
        "line 2: expected seconds or h:mm:ss",
    ),
    "two tables of texts": (
        lambda world: [table(name, WHOLE)(world) for name in ("transcripts.tsv", "transcripts.csv")],
        "expected one table of transcripts, found transcripts.tsv and transcripts.csv",
    ),
    "text called .xlsx": (table("transcripts.xlsx", WHOLE), "transcripts.xlsx: expected a workbook of Excel"),
    "half a workbook": (
        table("transcripts.xlsx", book(("source", "text"), ("good.wav", "x"))[:2000]),
        "transcripts.xlsx: expected a workbook",
    ),
    "a workbook of broken parts": (table("transcripts.xlsx", bomb()), "transcripts.xlsx: expected a workbook"),
    "two speakers of one recording": (
        table("speakers.tsv", "source\tspeaker\ngood.wav\tAna\ngood.wav\tRui\n"),
        "speakers.tsv, line 3: expected one speaker",
    ),
    "an empty table of speakers": (
        table("speakers.tsv", "\n \n"),
        "speakers.tsv: expected a table, found an empty file",
    ),
}

GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n5\n<exists>\n1\n"IntervalTier"\n"tx"\n0\n5\n1\n'
EAF = '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY a "{}">{}]>\n<ANNOTATION_DOCUMENT>{}</ANNOTATION_DOCUMENT>\n'
LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 40}">' for n in range(1, 9)).replace("&a0;", "&a;")
SRT = "1\n00:00:00,000 --> 00:00:04,000\nágua é vida\n"
SLOTS = '<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="s1" TIME_VALUE="{}"/></TIME_ORDER><TIER TIER_ID="tx"><ANNOTATION>'
SLOTS += '<ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="s1" TIME_SLOT_REF2="s9"/></ANNOTATION></TIER>'

# Annotations beside good.wav that are damaged: good.wav is named as failed, the other one is cut.
DAMAGED = {
    "half an ELAN file": ("good.eaf", "<ANNOTATION_DOCUMENT><TIER", "good.eaf: expected an ELAN file"),
    "an ELAN file of 0 bytes": ("good.eaf", "", "good.eaf: expected an ELAN file"),
    "an ELAN file that asks for more than all memory": (
        "good.eaf",
        EAF.format("x" * 40, LAUGHS, "&a8;"),
        "good.eaf: expected an ELAN file",
    ),
    "an ELAN file that asks for /etc/passwd": (
        "good.eaf",
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>\n<A>&b;</A>',
        "good.eaf: expected an ELAN file",
    ),
    "an ELAN file with a time slot that is not there": (
        "good.eaf",
        f"<A>{SLOTS.format(0)}</A>",
        "good.eaf: expected a .eaf file",
    ),
    "an ELAN file with a time in words": (
        "good.eaf",
        f"<A>{SLOTS.format('now')}</A>",
        "good.eaf: expected a .eaf file",
    ),
    "half a TextGrid": ("good.TextGrid", GRID[:60], "good.TextGrid: expected a .TextGrid file"),
    "a TextGrid of noise": ("good.TextGrid", bytes(range(256)) * 4, "good.TextGrid: expected a .TextGrid file"),
    "subtitles of another recording": (
        "good.srt",
        SRT.replace("00:00", "09:00"),
        "good.srt: none of its texts lies in the recording",
    ),
    "subtitles of noise": ("good.srt", bytes(range(128, 256)) * 9 + b"\0", "good.srt: expected text"),
    "subtitles that end before they begin": ("good.srt", "1\n00:00:04,000 --> 00:00:01,000\nx\n", "good.srt: "),
}

PHONES = ("--language", "{language}", "--phone_tier", "phones")


def phones(name: str, held: str):
    return lambda world: (world.raw / name).write_text(held)


def backward_phones(world: World) -> None:
    spans = [Span("phones@Ana", 0.5, 0.9, "a", "Ana"), Span("phones@Rui", 0.2, 0.7, "b", "Rui")]
    write_annotations(world.raw / "good.eaf", spans, form="eaf", media=world.raw / "good.wav", seconds=5.0)


def no_phones(world: World, _: Outcome) -> None:
    assert not (world.data / "phones.tsv").exists()


CASES = [
    *(
        Case(
            f"a table of {name}" if not name.startswith("a ") else f"texts: {name}",
            "recordings",
            spoil,
            "segment_audio",
            CUT,
            0,
            [],
            text_is("água é vida"),
        )
        for name, spoil in READ.items()
    ),
    *(Case(name, "recordings", spoil, "segment_audio", CUT, 2, [says]) for name, (spoil, says) in REFUSED.items()),
    *(
        Case(name, "recordings", beside(file, held), "segment_audio", CUT, 3, [f"failed: good.wav: .*{says}"])
        for name, (file, held, says) in DAMAGED.items()
    ),
    Case(
        "phones of half an ELAN file",
        "recordings",
        phones("good.eaf", "<A><TIER"),
        "import_phones",
        PHONES,
        2,
        ["good.eaf: expected an ELAN file"],
    ),
    Case("phones of no annotation at all", "recordings", lambda world: None, "import_phones", PHONES, 2, ["expected"]),
    Case(
        "phones that lie over each other",
        "recordings",
        backward_phones,
        "import_phones",
        PHONES,
        2,
        ["expected one phone at a time"],
        no_phones,
    ),
]
