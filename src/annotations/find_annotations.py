"""Which annotation file belongs to which recording: by its name beside it, in another folder, or by ELAN's link."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from annotations.read_annotations import linked_media, read_annotations
from annotations.spans import DRAFT, UNHEARD, kind_of_tier, written_spans
from core.composed_names import composed
from core.errors import UserError
from core.tables import read_table

# In this order where a recording has several: what holds speakers and tiers comes first.
SUFFIXES = (".eaf", ".textgrid", ".srt", ".vtt")
# Tables and text files may be anything: they count only where the user names their folder.
TABLES = (".csv", ".tsv", ".xlsx")
NAMED_SUFFIXES = (*SUFFIXES, ".txt", *TABLES)


def find_annotations(sources: Mapping[str, Path], folder: Path | None = None) -> tuple[dict[str, Path], list[Path]]:
    """Recording -> its annotation file, and the files that belong to no recording.

    sources: relative name -> path. Without ``folder``, files that lie beside a recording count, under its name or, for
    ELAN, linked to it; with it, all below that folder. A name counts for more than a link.
    """
    if folder is None:
        return _find_beside(sources), []
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of annotations, found none; check the path")
    by_name = {_key(Path(source)): source for source in sources}
    found: dict[str, list[Path]] = {}
    unused = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in NAMED_SUFFIXES and path.is_file()):
        names = [path, *map(Path, linked_media(path))]
        source = next((by_name[_key(name)] for name in names if _key(name) in by_name), None)
        if source is None:
            unused.append(path)
        else:
            found.setdefault(source, []).append(path)
    return {source: _best(paths) for source, paths in found.items()}, unused


def holds_drafts_alone(path: Path) -> bool:
    """Whether a file is of a queue (``transcribe.py --least_sure``) in which no line is to be read as text."""
    try:
        spans = read_annotations(path)
    except UserError:  # told where it is read to be used
        return False
    is_queue = any(kind_of_tier(span.tier) == DRAFT or span.text.strip() == UNHEARD for span in spans)
    return is_queue and not written_spans(spans)


def is_table_of_recordings(path: Path, sources: Iterable[str]) -> bool:
    """Whether a file is a table that names some of the recordings, as transcripts.tsv does."""
    if path.suffix.lower() not in TABLES:
        return False
    known = {_key(Path(source)) for source in sources}
    try:
        return any(_key(Path(row["source"])) in known for _, row in read_table(path, ("source", "text")))
    except UserError:
        return False


def _find_beside(sources: Mapping[str, Path]) -> dict[str, Path]:
    folders: dict[Path, dict[str, Path]] = {}
    for source, path in sources.items():
        folders.setdefault(path.parent, {})[source] = path
    found = {}
    for folder, inside in folders.items():
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        files = [path for path in files if path.is_file() and not path.name.startswith(".")]
        by_stem: dict[str, list[Path]] = {}
        for path in files:
            by_stem.setdefault(composed(path.stem), []).append(path)
        linked = _follow_links(files, inside)
        for source, path in inside.items():
            if best := _best(by_stem.get(composed(path.stem), ())) or linked.get(source):
                found[source] = best
    return found


def _follow_links(files: Iterable[Path], inside: Mapping[str, Path]) -> dict[str, Path]:
    """Recording -> the ELAN file that is linked to it, of those that have no recording's name."""
    by_name = {composed(path.name).casefold(): source for source, path in inside.items()}
    stems = {composed(path.stem) for path in inside.values()}
    found: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() == ".eaf" and composed(path.stem) not in stems:
            names = [composed(name).casefold() for name in _media_of(path)]
            if source := next((by_name[name] for name in names if name in by_name), None):
                found.setdefault(source, path)
    return found


def _media_of(path: Path) -> list[str]:
    """``linked_media``; nothing for a damaged file, since nobody has asked for it."""
    try:
        return linked_media(path)
    except UserError:
        return []


def _best(paths: Iterable[Path]) -> Path | None:
    return min(paths, key=lambda path: NAMED_SUFFIXES.index(path.suffix.lower()), default=None)


def _key(path: Path) -> str:
    """A name without folder and suffix, whatever its accents' form and its case."""
    return composed(path.stem).casefold()
