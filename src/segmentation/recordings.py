"""The recordings of a language: which there are, how they are named, split, and what is known about them."""

import bisect
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from audio.audio_io import AUDIO_SUFFIXES
from core.errors import UserError

TEST_SHARE, VAL_SHARE = 0.15, 0.10  # of the sources; the rest trains
FEWEST_SOURCES = 3  # with fewer, each source is split into blocks of time
LONGEST_STEM = 100  # characters; file systems allow 255 bytes
INSIDE_SHARE = 0.9  # a text belongs to a segment that holds this share of its speech


def list_sources(raw: Path) -> dict[str, Path]:
    """Relative name -> path of every audio file under ``raw``, sorted; nested folders and links are followed once.

    Names are POSIX paths in Unicode's composed form, so that splits agree between file systems.
    """
    found, seen = {}, set()
    for folder, subfolders, files in os.walk(raw, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                path = Path(folder) / name
                found[unicodedata.normalize("NFC", path.relative_to(raw).as_posix())] = path
    return dict(sorted(found.items()))


def find_sources(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> path of every audio file named or lying in a named folder; a name is relative to the folder given.

    Raises UserError for a path that is not there, a folder without audio, and two recordings of one name.
    """
    sources: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = list_sources(path)
            if not inside:
                raise UserError(f"{path}: expected audio files ({', '.join(AUDIO_SUFFIXES)}), found none")
        elif path.is_file():
            inside = {unicodedata.normalize("NFC", path.name): path}
        else:
            raise UserError(f"{path}: expected an audio file or a folder, found nothing; check the path")
        refuse_repeated([*sources, *inside])
        sources |= inside
    return sources


def refuse_repeated(names: Iterable[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise UserError(f"recordings of the same name would overwrite each other: {', '.join(repeated)}; rename them")


def name_stems(sources: Iterable[str]) -> dict[str, str]:
    """Source -> a stem of [A-Za-z0-9_.-] for its segments' ids, unique (case ignored) and short enough for a file."""
    stems, taken = {}, set()
    for source in sources:
        plain = unicodedata.normalize("NFKD", source.rpartition(".")[0]).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._-")[:LONGEST_STEM] or "recording"
        if stem.lower() in taken:
            stem = f"{stem}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        taken.add(stem.lower())
        stems[source] = stem
    return stems


def split_fraction(source: str) -> float:
    """A number in [0, 1) that depends on the source's relative path alone (SHA-256)."""
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big") / 2**64


def split_of_name(source: str) -> str:
    fraction = split_fraction(source)
    return "test" if fraction < TEST_SHARE else "val" if fraction < TEST_SHARE + VAL_SHARE else "train"


def assign_splits(lengths: dict[str, list[tuple[float, float]]], frozen: dict) -> dict:
    """The split of every source: ``frozen`` ones as they are, new ones by their name.

    ``lengths``: source -> (start, end) of its segments in seconds. A value is "train", "val" or "test", or, where there
    were fewer than three sources when it was first seen, a list of [split, end in seconds] blocks. Where the hash
    leaves a split without a source, the new one with the lowest hash goes there, of those in train if it has others,
    else of the other split: every split exists.
    """
    new = [source for source in lengths if source not in frozen]
    if not frozen and len(lengths) < FEWEST_SOURCES:
        return {source: split_into_blocks(lengths[source]) for source in new}
    splits = {**frozen, **{source: split_of_name(source) for source in new}}
    if any(not isinstance(split, str) for split in splits.values()):
        return dict(sorted(splits.items()))
    for split in ("train", "test", "val"):
        sizes = Counter(splits.values())
        movable = [source for source in new if sizes[splits[source]] > 1]
        if not sizes[split] and movable:
            splits[min(movable, key=lambda source: (splits[source] != "train", split_fraction(source)))] = split
    return dict(sorted(splits.items()))


def split_into_blocks(segments: list[tuple[float, float]]) -> list[list]:
    """Contiguous blocks of time [split, end]: train first, then val, then test, cut between segments."""
    n_test = max(1, round(TEST_SHARE * len(segments))) if len(segments) > 1 else 0
    n_val = max(1, round(VAL_SHARE * len(segments))) if len(segments) > 2 else 0
    n_train = len(segments) - n_test - n_val
    counts = {"train": n_train, "val": n_train + n_val, "test": len(segments)}
    return [[split, round(segments[count - 1][1], 4)] for split, count in counts.items() if count]


def split_at(split: str | list, start: float, end: float) -> str:
    """The split of a segment of a source whose frozen value is ``split``; its middle decides, later is test."""
    if isinstance(split, str):
        return split
    return next((name for name, until in split if (start + end) / 2 < until), split[-1][0])


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a tab-separated file without quotes; a first line of column names is optional."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t", len(columns) - 1)]
        if not line.strip() or (number == 1 and [cell.lower() for cell in cells] == list(columns)):
            continue
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {number}: expected {len(columns)} columns parted by tabs ({', '.join(columns)}), "
                f"found {len(cells)}; repair the line"
            )
        rows.append(dict(zip(columns, [unicodedata.normalize("NFC", cell) for cell in cells])))
    return rows


def read_transcripts(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """``transcripts.tsv`` -> source: [(start, end, text)] in seconds, in order of time; empty times: the whole file."""
    texts: dict[str, list[tuple[float, float, str]]] = {}
    for row in read_table(path, ("source", "start", "end", "text")):
        try:
            start, end = float(row["start"] or 0), float(row["end"] or "inf")
        except ValueError as error:
            found = f"'{row['start']}', '{row['end']}' for {row['source']}"
            raise UserError(f"{path}: expected seconds, found {found}; repair the line") from error
        if not 0 <= start < end:
            found = f"{start} and {end} for {row['source']}"
            raise UserError(f"{path}: expected 0 <= start < end, found {found}; repair the line")
        texts.setdefault(row["source"], []).append((start, end, row["text"]))
    return {source: sorted(rows) for source, rows in texts.items()}


def read_speakers(path: Path) -> dict[str, str]:
    return {row["source"]: row["speaker"] for row in read_table(path, ("source", "speaker"))}


def texts_of_segments(
    segments: list[tuple[float, float]], texts: list[tuple[float, float, str]]
) -> tuple[list[str | None], int]:
    """The text of each segment: the texts that lie inside it, or None where there is none or one is cut through.

    Beside them the number of ``texts`` that no segment holds.

    What counts of a text's time is the part in any segment (the rest is silence). A text with 90 % of it in one segment
    lies there; a segment that holds only a part of a text has no text, since a wrong one is worse.
    """
    found: list[list[str]] = [[] for _ in segments]
    ends, cut = [end for _, end in segments], set()
    for begin, until, text in texts:
        overlaps = {}
        for index in range(bisect.bisect_right(ends, begin), len(segments)):
            if segments[index][0] >= until:
                break
            overlaps[index] = min(segments[index][1], until) - max(segments[index][0], begin)
        for index, overlap in overlaps.items():
            share = overlap / sum(overlaps.values())
            if share >= INSIDE_SHARE:
                found[index].append(text)
            elif share > 1 - INSIDE_SHARE:
                cut.add(index)
    held = [words if index not in cut else [] for index, words in enumerate(found)]
    return [" ".join(words) or None for words in held], len(texts) - sum(map(len, held))
