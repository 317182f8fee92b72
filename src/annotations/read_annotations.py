"""Annotation files of linguists' tools as spans: ELAN, Praat, Audacity, subtitles, tables and spreadsheets.

Whatever is wrong with a file is one UserError that names it. Times are in seconds.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from annotations.spans import Span, speaker_of_tier
from core.errors import UserError
from core.tables import parse_seconds, read_rows, read_table, read_text, split_lines

LABELS = "labels"  # the tier of formats that have none


def read_annotations(
    path: Path, *, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> list[Span]:
    """The spans of an annotation file that hold text, in order of time.

    columns: what ``start``, ``end``, ``text``, ``speaker`` and ``tier`` are called in a table ({"text": "gloss"}).
    Raises UserError for a format that is not known, and for a file that cannot be read.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        known = ", ".join(sorted(READERS))
        raise UserError(f"{path}: expected an annotation file ({known}), found '{path.suffix}'; export one of these")
    if path.suffix.lower() in TABLES:
        spans = read_annotation_table(path, columns or {}, encoding)
    else:
        try:
            spans = read(path, encoding)
        except UserError:
            raise
        except Exception as error:  # the libraries raise whatever a damaged file makes them raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: expected a {path.suffix} file, found something damaged ({reason})") from error
    for span in spans:
        if not 0 <= span.start <= span.end:
            raise UserError(
                f"{path}: expected 0 <= start <= end, found {span.start} and {span.end} for '{span.text[:40]}'"
            )
    return sorted((span for span in spans if span.text), key=lambda span: (span.start, span.end, span.tier))


def linked_media(path: Path) -> list[str]:
    """The names (without folders) of the recordings that an ELAN file is linked to; none for other formats."""
    if Path(path).suffix.lower() != ".eaf":
        return []
    links = [
        element.get("RELATIVE_MEDIA_URL") or element.get("MEDIA_URL") or ""
        for element in _eaf_root(path).iter("MEDIA_DESCRIPTOR")
    ]
    names = [re.split(r"[\\/]", link)[-1] for link in links if link]
    # A space is written as it is or as %20.
    return list(dict.fromkeys(form for name in names for form in (name, unquote(name))))


def named_languages(path: Path) -> list[str]:
    """The languages that an ELAN file names; none for other formats."""
    if Path(path).suffix.lower() != ".eaf":
        return []
    found = [element.get("LANG_LABEL") or element.get("LANG_ID") for element in _eaf_root(path).iter("LANGUAGE")]
    return [name.strip() for name in found if name and name.strip()]


def _eaf_root(path: Path) -> ElementTree.Element:
    try:
        # Expat ends entities that grow, and ElementTree fetches none from outside: tests/hostile_tables.py tries both.
        return ElementTree.parse(path).getroot()  # noqa: S314
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{path}: expected an ELAN file, found something damaged ({error}); save it in ELAN") from error


def read_eaf(path: Path, encoding: str | None = None) -> list[Span]:
    """ELAN: alignable annotations with their times, and those that refer to them with a share of those times.

    Read from the XML itself: pympi keeps no time for slots that ELAN leaves open, and gives up on chains of tiers.
    """
    root = _eaf_root(path)
    slots = _slot_seconds(root)
    tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
    placed: dict[str, tuple[float, float]] = {}
    for annotation in root.iter("ALIGNABLE_ANNOTATION"):
        bounds = (slots[annotation.get(f"TIME_SLOT_REF{end}")] for end in (1, 2))
        placed[annotation.get("ANNOTATION_ID")] = tuple(bounds)
    _place_references(list(root.iter("REF_ANNOTATION")), placed)
    spans = []
    for name, tier in tiers.items():
        speaker = _participant(name, tiers)
        for annotation in (*tier.iter("ALIGNABLE_ANNOTATION"), *tier.iter("REF_ANNOTATION")):
            if annotation.get("ANNOTATION_ID") in placed:
                text = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
                start, end = placed[annotation.get("ANNOTATION_ID")]
                spans.append(Span(name, start, end, text, speaker, tier.get("PARENT_REF")))
    return spans


def _slot_seconds(root: ElementTree.Element) -> dict[str, float]:
    """Every time slot in seconds; those left open lie evenly between their neighbours, as ELAN draws them."""
    slots = [(slot.get("TIME_SLOT_ID"), slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")]
    known = [(place, int(value) / 1000) for place, (_, value) in enumerate(slots) if value is not None]
    seconds = {}
    for place, (name, _) in enumerate(slots):
        before = [pair for pair in known if pair[0] <= place][-1:] or known[:1]
        after = [pair for pair in known if pair[0] >= place][:1] or known[-1:]
        if before and after:
            (left, start), (right, end) = before[0], after[0]
            seconds[name] = start + (end - start) * (place - left) / max(1, right - left)
    return seconds


def _place_references(annotations: list[ElementTree.Element], placed: dict[str, tuple[float, float]]) -> None:
    """Give annotations that refer to others their times: those that share one parent share its time evenly."""
    waiting: dict[tuple[str, int], list[ElementTree.Element]] = {}
    tier_of = {}
    for annotation in annotations:
        waiting.setdefault(annotation.get("ANNOTATION_REF"), []).append(annotation)
        tier_of[annotation.get("ANNOTATION_ID")] = annotation
    ready = [name for name in waiting if name in placed]
    while ready:
        parent = ready.pop()
        start, end = placed[parent]
        for siblings in _siblings(waiting.pop(parent)):
            step = (end - start) / len(siblings)
            for number, name in enumerate(siblings):
                placed[name] = (start + number * step, start + (number + 1) * step)
                if name in waiting:
                    ready.append(name)


def _siblings(annotations: list[ElementTree.Element]) -> list[list[str]]:
    """Chains of ids that follow one another (PREVIOUS_ANNOTATION); an annotation without one begins a chain."""
    following = {found.get("PREVIOUS_ANNOTATION"): found.get("ANNOTATION_ID") for found in annotations}
    chains = []
    for annotation in annotations:
        if annotation.get("PREVIOUS_ANNOTATION") is None:
            chain = [annotation.get("ANNOTATION_ID")]
            while following.get(chain[-1]) and len(chain) <= len(annotations):
                chain.append(following[chain[-1]])
            chains.append(chain)
    return chains


def _participant(name: str, tiers: Mapping[str, ElementTree.Element]) -> str | None:
    """Who speaks on a tier: its participant, or that of a tier it depends on, or what stands behind "@"."""
    visited, current = set(), name
    while current in tiers and current not in visited:
        visited.add(current)
        if speaker := (tiers[current].get("PARTICIPANT") or "").strip():
            return speaker
        current = tiers[current].get("PARENT_REF")
    return speaker_of_tier(name)


def read_textgrid(path: Path, encoding: str | None = None) -> list[Span]:
    """Praat's TextGrid, by Praat itself: long, short or binary. Points are spans without length."""
    from parselmouth import read
    from parselmouth.praat import call

    grid, spans = read(str(path)), []
    for tier in range(1, call(grid, "Get number of tiers") + 1):
        name = call(grid, "Get tier name", tier)
        if call(grid, "Is interval tier", tier):
            for number in range(1, call(grid, "Get number of intervals", tier) + 1):
                bounds = [call(grid, f"Get {end} time of interval", tier, number) for end in ("start", "end")]
                text = call(grid, "Get label of interval", tier, number)
                spans.append(Span(name, *bounds, text.strip(), speaker_of_tier(name)))
        else:
            for number in range(1, call(grid, "Get number of points", tier) + 1):
                time = call(grid, "Get time of point", tier, number)
                text = call(grid, "Get label of point", tier, number)
                spans.append(Span(name, time, time, text.strip(), speaker_of_tier(name)))
    return spans


def read_audacity(path: Path, encoding: str | None = None) -> list[Span]:
    """Audacity's label track: start, end, label, parted by tabs; lines of a spectral selection are left out."""
    spans = []
    for number, whole in enumerate(split_lines(read_text(path, encoding)), 1):
        line = whole.rstrip("\r\n")
        cells = line.split("\t", 2)
        if not line.strip() or cells[0].strip() == "\\":
            continue
        try:
            start, end = (float(cell.replace(",", ".")) for cell in cells[:2])
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: expected Audacity's start, end and label parted by tabs, found '{line[:60]}'"
            ) from error
        spans.append(Span(LABELS, start, end, cells[2].strip() if len(cells) > 2 else ""))
    return spans


def read_subtitles(path: Path, encoding: str | None = None) -> list[Span]:
    """SRT and WebVTT; marks such as <i> are dropped, a voice (``<v Maria>``) is the speaker."""
    import pysubs2

    spans = []
    for event in pysubs2.SSAFile.from_string(
        read_text(path, encoding), format_=path.suffix[1:].lower(), keep_html_tags=True
    ):
        voice = re.match(r"\s*<v(?:\.\S*)?\s+([^>]+)>", event.text)
        text = " ".join(re.sub(r"<[^>]*>", "", event.plaintext).split())
        speaker = voice.group(1).strip() if voice else event.name or None
        spans.append(Span(LABELS, event.start / 1000, event.end / 1000, text, speaker))
    return spans


def read_annotation_table(path: Path, columns: Mapping[str, str], encoding: str | None) -> list[Span]:
    """CSV, TSV or a spreadsheet with columns start, end and text, and speaker and tier where there are."""
    if not read_rows(path, encoding=encoding):
        return []
    optional = ("speaker", "tier")
    spans = []
    for number, row in read_table(path, ("start", "end", "text"), optional=optional, names=columns, encoding=encoding):
        start, end = (parse_seconds(row[name], f"{path}, line {number}") for name in ("start", "end"))
        spans.append(Span(row["tier"] or LABELS, start, end, row["text"], row["speaker"] or None))
    return spans


TABLES = (".csv", ".tsv", ".xlsx", ".xlsm")
READERS: dict[str, Callable] = {
    ".eaf": read_eaf,
    ".textgrid": read_textgrid,
    ".txt": read_audacity,
    ".srt": read_subtitles,
    ".vtt": read_subtitles,
    **dict.fromkeys(TABLES, read_annotation_table),
}
