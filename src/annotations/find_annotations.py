"""Which annotation file belongs to which recording: by its name beside it, in another folder, or by ELAN's link."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from annotations.read_annotations import linked_media
from core.errors import UserError

# In this order where a recording has several: what holds speakers and tiers comes first.
SUFFIXES = (".eaf", ".textgrid", ".srt", ".vtt")
# Tables and text files may be anything: they count only where the user names their folder.
NAMED_SUFFIXES = (*SUFFIXES, ".txt", ".csv", ".tsv", ".xlsx")


def find_annotations(sources: Mapping[str, Path], folder: Path | None = None) -> tuple[dict[str, Path], list[Path]]:
    """Recording -> its annotation file, and the files that belong to no recording.

    sources: relative name -> path. Without ``folder``, files that lie beside a recording under its name count; with it,
    all below that folder, by the recording's name or, for ELAN, by the recording that the file is linked to.
    """
    if folder is None:
        beside = {}
        for source, path in sources.items():
            found = _best(_siblings(path))
            if found:
                beside[source] = found
        return beside, []
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


def _siblings(recording: Path) -> Iterable[Path]:
    for suffix in SUFFIXES:
        for spelling in (suffix, suffix.upper(), ".TextGrid" if suffix == ".textgrid" else suffix):
            path = recording.with_suffix(spelling)
            if path.is_file():
                yield path


def _best(paths: Iterable[Path]) -> Path | None:
    return min(paths, key=lambda path: NAMED_SUFFIXES.index(path.suffix.lower()), default=None)


def _key(path: Path) -> str:
    """A name without folder and suffix, whatever its accents' form and its case."""
    return unicodedata.normalize("NFC", path.stem).casefold()
