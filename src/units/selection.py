"""Which utterances of phase 1 a training takes: all, or some speakers' alone, and without those that are flagged.

Units are made of everything. A voice or its melody would learn the music, the motor or the second speaker as well.
"""

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.composed_names import composed
from core.errors import UserError
from core.records import SPLITS, Utterance
from core.wording import name_some
from units.corpus import read_corpus
from units.unit_table import UnitTable, read_column

LISTED = 20  # speakers that a message lists
TRAINING_SPLITS = ("train", "val")


class Selection(NamedTuple):
    """What a training takes."""

    speakers: tuple[str, ...] = ()  # () takes everybody
    keep_flagged: bool = False  # noise, music and overlapping speech too


EVERYTHING = Selection(keep_flagged=True)


class Amount(NamedTuple):
    """How much of a corpus there is, by split or by flag: utterances and seconds."""

    utterances: Counter[str]
    seconds: Counter[str]


def add_selection_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to train on")
    group.add_argument(
        "--speaker",
        action="append",
        default=[],
        metavar="NAME",
        help="train on this speaker's segments only; give it again for a further one (default: everybody's)",
    )
    group.add_argument(
        "--keep_flagged",
        action="store_true",
        help="train on segments flagged as noise, music or overlapping speech too",
    )


def read_selection(arguments: Mapping[str, object]) -> Selection:
    """The selection by the flags of ``add_selection_flags``, or by ``arguments`` of an experiment's config.json."""
    speakers = tuple(map(composed, arguments.get("speaker") or ()))
    return Selection(speakers, bool(arguments.get("keep_flagged")))


def is_of(utterance: Utterance, speakers: Collection[str]) -> bool:
    return not speakers or composed(utterance.get("speaker") or "") in speakers


def is_selected(utterance: Utterance, selection: Selection) -> bool:
    return is_of(utterance, selection.speakers) and (selection.keep_flagged or not utterance.get("flags"))


def read_selected(corpus: Path, splits: Collection[str], selection: Selection) -> Iterator[Utterance]:
    """Stream the selected utterances of ``splits`` from ``corpus_timestamped.json``."""
    return (entry for entry in read_corpus(corpus, splits=splits) if is_selected(entry, selection))


def select_rows(table: UnitTable, splits: Collection[str], selection: Selection) -> np.ndarray:
    """(R,) int32 rows of the selected utterances of ``splits``, in the corpus' order."""
    wanted = [SPLITS.index(split) for split in splits if split in SPLITS]
    taken = np.isin(read_column(table, "split"), wanted) & _is_of(table, selection.speakers)
    if not selection.keep_flagged:
        taken &= read_column(table, "flags") == 0
    return np.flatnonzero(taken).astype(np.int32)


def _is_of(table: UnitTable, speakers: Collection[str]) -> np.ndarray:
    """(U,) bool: whether one of ``speakers`` speaks; of all utterances where none is named."""
    spoken_by = read_column(table, "speaker")
    if not speakers:
        return np.ones(len(spoken_by), bool)
    rows = [row for row, name in enumerate(table.speakers) if composed(name) in speakers]
    return np.isin(spoken_by, rows)


def check_selection(table: UnitTable, selection: Selection, *, splits: Path) -> list[str]:
    """Lines for the log: whom a training listens to, and what it leaves out.

    splits: the file that a message names. Raises UserError for a speaker that the corpus lacks, and for a split of
    training or validation in which nothing is left.
    """
    seconds = _seconds_of_speakers(table)
    _refuse_unknown(table.corpus, selection.speakers, seconds)
    taken = select_rows(table, SPLITS, selection)
    left_out = np.setdiff1d(select_rows(table, SPLITS, selection._replace(keep_flagged=True)), taken)
    flagged = {split: _count_flagged(table, left_out, split) for split in TRAINING_SPLITS}
    amount = _count_splits(table, taken)
    for split in TRAINING_SPLITS:
        if not amount.utterances[split]:
            raise UserError(
                _say_empty(table.corpus, split, selection, taken=amount, flagged=flagged[split], splits=splits)
            )
    lines = [f"speaker {name}: {say_splits(seconds[name])}" for name in selection.speakers]
    return lines + _say_flagged(flagged)


def _seconds_of_speakers(table: UnitTable) -> dict[str, Counter[str]]:
    """Seconds in each split of every speaker, under "" of nobody by name."""
    spoken_by, split, seconds = (read_column(table, name) for name in ("speaker", "split", "seconds"))
    found: dict[str, Counter[str]] = {}
    for number, name in enumerate(SPLITS):
        inside = split == number
        sums = np.bincount(spoken_by[inside] + 1, seconds[inside])
        counts = np.bincount(spoken_by[inside] + 1)
        for row in np.flatnonzero(counts):
            speaker = composed(table.speakers[row - 1]) if row else ""
            found.setdefault(speaker, Counter())[name] += float(sums[row])
    return found


def _count_splits(table: UnitTable, rows: np.ndarray) -> Amount:
    split, seconds = read_column(table, "split")[rows], read_column(table, "seconds")[rows]
    amount = Amount(Counter(), Counter())
    for number, name in enumerate(SPLITS):
        amount.utterances[name] = int((split == number).sum())
        amount.seconds[name] = float(seconds[split == number].sum())
    return amount


def _count_flagged(table: UnitTable, rows: np.ndarray, split: str) -> Amount:
    """By flag, and of all together, what ``rows`` hold of one split."""
    rows = rows[read_column(table, "split")[rows] == SPLITS.index(split)]
    flags, seconds = read_column(table, "flags")[rows], read_column(table, "seconds")[rows]
    amount = Amount(Counter(), Counter())
    for bit, name in [(-1, "all"), *enumerate(table.flags)]:
        inside = flags >> bit & 1 == 1 if bit >= 0 else np.ones(len(rows), bool)
        if inside.any():
            amount.utterances[name] = int(inside.sum())
            amount.seconds[name] = float(seconds[inside].sum())
    return amount


def _refuse_unknown(corpus: Path, wanted: Collection[str], seconds: Mapping[str, Counter[str]]) -> None:
    unknown = [name for name in wanted if not name or name not in seconds]
    if not unknown:
        return
    named = sorted((name for name in seconds if name), key=lambda name: (-seconds[name].total(), name))
    listed = name_some([f"{name} ({seconds[name].total() / 60:.1f} min)" for name in named], LISTED)
    found = f"expected one of {listed}" if named else "nobody is named; write speakers.tsv and rerun phase 1"
    raise UserError(f"--speaker {', '.join(unknown)}: not in {corpus}: {found}")


def _say_empty(corpus: Path, split: str, selection: Selection, *, taken: Amount, flagged: Amount, splits: Path) -> str:
    """Why nothing is left of a split, and what to do."""
    whom = f" of {' and '.join(selection.speakers)}" if selection.speakers else ""
    if flagged.utterances["all"]:
        return (
            f"{corpus}: expected speech{whom} in split '{split}', found only segments flagged {_say_amount(flagged)}; "
            "listen to them, and give --keep_flagged if they are speech"
        )
    if not whom:
        return f"{corpus}: expected utterances in split {split}, found none; add recordings"
    return (
        f"{corpus}: expected speech{whom} in split '{split}', found none ({say_splits(taken.seconds)}); move a "
        f"recording of theirs to '{split}' in {splits}, and rerun phase 1"
    )


def say_splits(seconds: Mapping[str, float]) -> str:
    """Minutes of each split: "train 12.0 min, val 1.0 min, test 0.0 min"."""
    return ", ".join(f"{split} {seconds.get(split, 0.0) / 60:.1f} min" for split in SPLITS)


def _say_flagged(flagged: Mapping[str, Amount]) -> list[str]:
    both = Amount(Counter(), Counter())
    for amount in flagged.values():
        both.utterances.update(amount.utterances)
        both.seconds.update(amount.seconds)
    count = both.utterances["all"]
    if not count:
        return []
    return [f"left out {count} segment{'s' * (count > 1)} flagged {_say_amount(both)}; --keep_flagged takes them too"]


def _say_amount(amount: Amount) -> str:
    """The flags with their numbers, and the minutes of all: "noise_or_music (3), 0.4 min in all"."""
    kinds = sorted(name for name in amount.utterances if name != "all")
    return f"{', '.join(f'{name} ({amount.utterances[name]})' for name in kinds)}, {amount.seconds['all'] / 60:.1f} min"
