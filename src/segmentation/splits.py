"""Which recordings train, validate and test: by their names, and frozen once decided."""

import hashlib
from collections import Counter
from pathlib import Path

from core.errors import UserError
from core.files import read_json
from core.records import SPLITS

TEST_SHARE, VAL_SHARE = 0.15, 0.10  # of the sources; the rest trains
FEWEST_SOURCES = 3  # with fewer, each source is split into blocks of time

Blocks = list[tuple[str, float]]  # split and end in seconds; lists in JSON
Split = str | Blocks  # of a whole source, or by time


def split_fraction(source: str) -> float:
    """A number in [0, 1) that depends on the source's relative path alone (SHA-256)."""
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big") / 2**64


def split_of_name(source: str) -> str:
    fraction = split_fraction(source)
    return "test" if fraction < TEST_SHARE else "val" if fraction < TEST_SHARE + VAL_SHARE else "train"


def assign_splits(lengths: dict[str, list[tuple[float, float]]], frozen: dict[str, Split]) -> dict[str, Split]:
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


def assign_group_splits(groups: dict[str, str], frozen: dict[str, Split]) -> dict[str, Split]:
    """The split of every source, the same in a whole group (a folder, a speaker); ``groups``: source -> its group.

    ``frozen`` sources stay as they are, and new ones join their group. Raises UserError for fewer than three groups.
    """
    decided = {groups[source]: split for source, split in frozen.items() if source in groups and isinstance(split, str)}
    names = sorted(set(groups.values()))
    if len(names) < FEWEST_SOURCES:
        raise UserError(
            f"--split_by: expected at least {FEWEST_SOURCES} folders or speakers to hold together, found {len(names)} "
            f"({', '.join(names[:5])}); give --split_by source"
        )
    placed = assign_splits({name: [(0.0, 1.0)] for name in names}, decided)
    return dict(sorted(({source: placed[group] for source, group in groups.items()} | frozen).items()))


def read_splits(path: Path) -> dict[str, Split]:
    """splits.json, in which people may move a recording to another split. UserError for a split that is none."""
    found = read_json(path)
    for source, split in found.items():
        blocks = [[split, 0.0]] if isinstance(split, str) else split
        if not isinstance(blocks, list) or not blocks or not all(map(_is_block, blocks)):
            raise UserError(f"{path}: expected {', '.join(SPLITS)} for {source}, found {split!r:.60}; repair the line")
    return found


def _is_block(block: object) -> bool:
    """Whether it is [split, end in seconds], as ``split_into_blocks`` writes them."""
    if not isinstance(block, list) or len(block) != 2 or block[0] not in SPLITS:
        return False
    return isinstance(block[1], int | float) and not isinstance(block[1], bool) and block[1] >= 0


def split_into_blocks(segments: list[tuple[float, float]]) -> Blocks:
    """Contiguous blocks of time [split, end]: train first, then val, then test, cut between segments."""
    n_test = max(1, round(TEST_SHARE * len(segments))) if len(segments) > 1 else 0
    n_val = max(1, round(VAL_SHARE * len(segments))) if len(segments) > 2 else 0
    n_train = len(segments) - n_test - n_val
    counts = {"train": n_train, "val": n_train + n_val, "test": len(segments)}
    return [(split, round(segments[count - 1][1], 4)) for split, count in counts.items() if count]


def split_at(split: Split, start: float, end: float) -> str:
    """The split of a segment of a source whose frozen value is ``split``; its middle decides, later is test."""
    if isinstance(split, str):
        return split
    return next((name for name, until in split if (start + end) / 2 < until), split[-1][0])
