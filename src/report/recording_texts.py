"""What is written about a folder of recordings: tables of texts and speakers, and annotation files beside them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from annotations.read_annotations import (
    READERS,
    TABLES,
    linked_media,
    named_languages,
    read_annotations,
)
from annotations.spans import Span, choose_text_tiers, speaker_of_tier
from core.composed_names import composed
from core.errors import UserError
from core.wording import printable
from segmentation.annotated_pieces import is_outside
from segmentation.tables import TABLE_NAMES, match_names, read_speakers, read_transcripts

ANNOTATION_SUFFIXES = tuple(suffix for suffix in READERS if suffix not in (*TABLES, ".txt"))


class KnownTexts(NamedTuple):
    """What is written about the recordings. Sources and files are names relative to the folder."""

    files: list[str]  # annotation files and tables that could be read
    texts: Counter[str]  # source -> texts
    speakers: Counter[str]  # speaker -> recordings
    tiers: Counter[str]  # tier of an annotation file -> spans
    languages: Counter[str]  # as ELAN files name them -> files
    unmatched: list[str]  # files and rows without a recording
    plain: list[str]  # text files of a recording's name that are no label tracks
    unreadable: dict[str, str]  # file -> reason
    speaker_of: dict[str, str]  # source -> speaker, by the table
    spoken_seconds: Counter[str]  # speaker -> seconds of recordings, by annotations
    outside: Counter[str]  # source -> annotations outside the recording, which count for nothing else


def read_known_texts(
    folder: Path, files: Sequence[Path], sources: Mapping[str, Path], seconds: Mapping[str, float] | None = None
) -> KnownTexts:
    """Everything written in ``files``, those of ``folder`` that are no recordings.

    seconds: source -> length of the recording, where it is known; annotations end where their recording does.
    """
    known = KnownTexts([], Counter(), Counter(), Counter(), Counter(), [], [], {}, {}, Counter(), Counter())
    lengths, spoken = seconds or {}, defaultdict(list)
    stems = {source.rpartition(".")[0]: source for source in sources}
    names = {Path(source).name: source for source in sources}
    for path in files:
        suffix, name = path.suffix.lower(), relative_name(path, folder)
        is_table = path.parent == folder and path.stem in TABLE_NAMES and suffix in TABLES
        beside = stems.get(name.rpartition(".")[0])
        if not is_table and suffix not in ANNOTATION_SUFFIXES and (beside is None or suffix not in READERS):
            continue
        try:
            if is_table:
                _add_table(path, sources, known)
            else:
                _add_annotations(path, name, beside, names, known, lengths=lengths, spoken=spoken)
            known.files.append(name)
        except UserError as error:
            if suffix == ".txt":  # no labels of Audacity: words, without times
                known.plain.append(name)
            else:
                known.unreadable[name] = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, ")
    for (_, speaker), times in spoken.items():
        known.spoken_seconds[speaker] += length_together(times)
    return known


def length_together(times: Iterable[tuple[float, float]]) -> float:
    """Seconds that (start, end) cover together: what two of them cover counts once."""
    total, covered = 0.0, float("-inf")
    for start, end in sorted(times):
        total += max(0.0, end - max(start, covered))
        covered = max(covered, end)
    return total


def relative_name(path: Path, folder: Path) -> str:
    return printable(composed(path.relative_to(folder).as_posix()))


def _add_table(path: Path, sources: Mapping[str, Path], known: KnownTexts) -> None:
    if path.stem == "speakers":
        rows = match_names(read_speakers(path), sources)
        known.speaker_of.update({source: speaker for source, speaker in rows.items() if source in sources})
        known.speakers.update(known.speaker_of.values())
    else:
        rows = match_names(read_transcripts(path), sources)
        known.texts.update({source: len(texts) for source, texts in rows.items() if source in sources})
    known.unmatched.extend(f"{source} ({path.name})" for source in rows if source not in sources)


def _add_annotations(
    path: Path,
    name: str,
    source: str | None,
    names: Mapping[str, str],
    known: KnownTexts,
    *,
    lengths: Mapping[str, float],
    spoken: dict[tuple[str, str], list[tuple[float, float]]],
) -> None:
    """An annotation file belongs to the recording of its name, or to one that it is linked to.

    spoken: (source, speaker) -> (start, end) in seconds, which are added to.
    """
    linked = [names[media] for media in map(composed, linked_media(path)) if media in names]
    source = source or next(iter(linked), None)
    spans = read_annotations(path)
    if source is None:
        known.unmatched.append(name)
        return
    tiers, n_seconds = choose_text_tiers(spans), lengths.get(source, float("inf"))
    if n_outside := sum(span.tier in tiers and is_outside(span, n_seconds) for span in spans):
        known.outside[source] += n_outside
    spans = [span for span in spans if not is_outside(span, n_seconds)]
    known.texts[source] += sum(span.tier in tiers for span in spans)
    known.tiers.update(span.tier for span in spans)
    known.languages.update(set(named_languages(path)))
    known.speakers.update(set(filter(None, map(_speaker, spans))))
    for span in spans:
        if span.tier in tiers and (speaker := _speaker(span)):
            spoken[source, speaker].append((span.start, min(span.end, n_seconds)))


def _speaker(span: Span) -> str | None:
    return span.speaker or speaker_of_tier(span.tier)
