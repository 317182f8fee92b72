"""Spans as annotation files that linguists' tools open: ELAN, Praat, Audacity, subtitles, a table. Times in seconds."""

import csv
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from annotations.spans import Span, tier_names
from core.composed_names import composed, find_composed
from core.errors import UserError
from core.files import write_atomically

FORMATS = {"eaf": ".eaf", "textgrid": ".TextGrid", "audacity": ".txt", "srt": ".srt", "csv": ".csv"}
MEDIA_TYPES = {".wav": "audio/x-wav", ".mp3": "audio/mpeg", ".mp4": "video/mp4"}  # as ELAN names them
SHORTEST = 0.001  # s: every format keeps milliseconds, and Praat knows no empty interval


def write_annotations(path: Path, spans: Sequence[Span], *, form: str, media: Path, seconds: float) -> None:
    """Write ``spans`` of the recording ``media``, ``seconds`` long, in one of FORMATS, whole or not at all.

    Raises UserError for a format that is not known. What a format cannot hold is left out of it: SRT and Audacity have
    no tiers, so that a label of theirs begins with its tier where there are several.
    """
    if form not in WRITERS:
        raise UserError(f"'{form}': expected a format of {', '.join(FORMATS)}")
    ordered = sorted(spans, key=lambda span: (span.start, span.end, span.tier))
    write_atomically(path, lambda temporary: WRITERS[form](temporary, ordered, media, seconds))


def write_recordings(folder: Path, spans: Mapping[str, Sequence[Span]], forms: Sequence[str], raw: Path) -> list[Path]:
    """A file of each form in ``folder`` for each recording, named below ``raw``, of ``spans``; returns them."""
    written = []
    for form in forms:
        names = name_files(list(spans), FORMATS[form])
        for source, found in spans.items():
            longest = max(span.end for span in found)
            written.append(folder / names[source])
            write_annotations(written[-1], found, form=form, media=find_composed(raw, source), seconds=longest)
    return written


def name_files(sources: Sequence[str], suffix: str) -> dict[str, str]:
    """Recording -> its file's name: ``a.eaf`` for ``a.wav``, but ``a.wav.eaf`` where an ``a.mp3`` lies beside it.

    Names that differ only in their case are one name on many drives.
    """
    stems = {source: str(Path(source).with_suffix("")) for source in dict.fromkeys(sources)}
    counts = Counter(stem.casefold() for stem in stems.values())
    whole = Counter(source.casefold() for source in stems)
    names = {}
    for number, (source, stem) in enumerate(stems.items()):
        name = stem if counts[stem.casefold()] == 1 else source
        names[source] = f"{name}{f'.{number}' if whole[source.casefold()] > 1 else ''}{suffix}"
    return names


def write_eaf(path: Path, spans: Sequence[Span], media: Path, seconds: float) -> None:
    """ELAN 3.0, linked to the recording; a tier for each tier, with the speaker as its participant."""
    from pympi import Eaf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = Eaf(author="oral-units")
        document.remove_tier("default")
        suffix = media.suffix.lower()
        kind = MEDIA_TYPES.get(suffix, "application/octet-stream")
        beside = Path(os.path.relpath(media.absolute(), path.absolute().parent)).as_posix()
        beside = beside if beside.startswith("../") else f"./{beside}"
        document.add_linked_file(media.resolve().as_uri(), relpath=beside, mimetype=kind)
        for name, speaker, row in spread_overlaps(spans):
            document.add_tier(name, part=speaker)
            for span in row:
                start, end = milliseconds(span)
                document.add_annotation(name, start, end, span.text)
        document.to_file(str(path), pretty=True)
    Path(f"{path}.bak").unlink(missing_ok=True)  # the library keeps one


def write_textgrid(path: Path, spans: Sequence[Span], media: Path, seconds: float) -> None:
    """Praat's TextGrid, by Praat itself, in UTF-8; what overlaps on a tier goes to a further one."""
    from parselmouth.praat import call

    rows = spread_overlaps(spans) or [("empty", None, [])]
    longest = max([seconds, *(milliseconds(span)[1] / 1000 for span in spans)])
    grid = call("Create TextGrid", 0.0, longest, " ".join(f"tier{number}" for number in range(len(rows))), "")
    for tier, (name, _, row) in enumerate(rows, 1):
        call(grid, "Set tier name", tier, name)
        interval, reached = 1, 0
        for span in row:
            start, end = milliseconds(span)
            if start > reached:
                call(grid, "Insert boundary", tier, start / 1000)
                interval += 1
            if end / 1000 < longest:
                call(grid, "Insert boundary", tier, end / 1000)
            call(grid, "Set interval text", tier, interval, span.text)
            interval, reached = interval + 1, end
    call("Text writing preferences", "UTF-8")
    call(grid, "Save as text file", str(path))


def write_audacity(path: Path, spans: Sequence[Span], media: Path, seconds: float) -> None:
    several = len(tier_names(spans)) > 1
    lines = [f"{span.start:.6f}\t{span.end:.6f}\t{label_of(span, several)}\n" for span in spans]
    path.write_text("".join(lines), encoding="utf-8")


def write_srt(path: Path, spans: Sequence[Span], media: Path, seconds: float) -> None:
    import pysubs2

    several, subtitles = len(tier_names(spans)) > 1, pysubs2.SSAFile()
    for span in spans:
        start, end = milliseconds(span)
        subtitles.append(pysubs2.SSAEvent(start=start, end=end, text=label_of(span, several)))
    path.write_text(subtitles.to_string("srt"), encoding="utf-8")


def write_csv(path: Path, spans: Sequence[Span], media: Path, seconds: float) -> None:
    """Columns source, tier, speaker, start, end and text; with a byte order mark, which Excel needs for UTF-8."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["source", "tier", "speaker", "start", "end", "text"])
    source = composed(media.name)
    for span in spans:
        writer.writerow([source, span.tier, span.speaker or "", f"{span.start:.3f}", f"{span.end:.3f}", span.text])
    path.write_text(table.getvalue(), encoding="utf-8-sig", newline="")


def label_of(span: Span, several_tiers: bool) -> str:
    text = " ".join(span.text.split())
    return f"{span.tier}: {text}" if several_tiers else text


def milliseconds(span: Span) -> tuple[int, int]:
    """(start, end), at least one apart."""
    start = round(span.start * 1000)
    return start, max(round(span.end * 1000), start + round(SHORTEST * 1000))


def spread_overlaps(spans: Sequence[Span]) -> list[tuple[str, str | None, list[Span]]]:
    """(name, speaker, spans) of tiers on which nothing overlaps: further ones are called ``name_2``, ``name_3``, …"""
    rows: dict[tuple[str, str | None], list[list[Span]]] = {}
    for span in spans:
        free = rows.setdefault((span.tier, span.speaker), [])
        row = next((row for row in free if milliseconds(row[-1])[1] <= milliseconds(span)[0]), None)
        if row is None:
            free.append(row := [])
        row.append(span)
    taken, named = set(), []
    for (tier, speaker), found in rows.items():
        for row in found:
            number, name = 1, tier
            while name in taken:
                number += 1
                name = f"{tier}_{number}"
            taken.add(name)
            named.append((name, speaker, row))
    return named


WRITERS: dict[str, Callable] = {
    "eaf": write_eaf,
    "textgrid": write_textgrid,
    "audacity": write_audacity,
    "srt": write_srt,
    "csv": write_csv,
}
