"""``phones.tsv``: which phone is spoken when, read and laid over the utterances of a corpus, every 10 ms."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.tables import read_table
from segmentation.tables import find_table
from units.phone_scores import STEP_MS

SILENCE = "SIL"
SILENCES = {"", "sil", "pau", "sp", "spn", "#", "_", "<p:>", "(...)"}  # as aligners and annotators write it


class PhoneLabels(NamedTuple):
    """The phones of all recordings. ``spans``: source -> (L,) starts, (L,) ends in s, (L,) numbers of ``names``."""

    names: list[str]  # names[0] is the silence
    spans: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def read_phones(path: Path) -> PhoneLabels:
    """The table of phones (columns source, start, end, phone; others are left alone), also .csv and .xlsx.

    Names of silence become one. Raises UserError for times that are none, and for phones that overlap by over a step.
    """
    rows: dict[str, list[tuple[float, float, str]]] = {}
    table = find_table(path)
    if table is None:
        raise UserError(f"{path}: expected a table of phones, found none; see phones.tsv in docs/data_formats.md")
    for number, row in read_table(table, ("source", "start", "end", "phone")):
        rows.setdefault(row["source"], []).append((*_read_times(f"{table}, line {number}", row), row["phone"]))
    phones = sorted({phone for found in rows.values() for *_, phone in found if not is_silence(phone)})
    if not phones:
        raise UserError(f"{table}: expected phones, found none; see phones.tsv in docs/data_formats.md")
    names = [SILENCE, *phones]
    numbers = {name: number for number, name in enumerate(names)}
    spans = {}
    for source, found in rows.items():
        found.sort()
        starts, ends = (np.array([row[side] for row in found]) for side in (0, 1))
        overlaps = np.flatnonzero(ends[:-1] > starts[1:] + STEP_MS / 1000)
        if len(overlaps):
            raise UserError(
                f"{table}: expected one phone at a time, found two at {ends[overlaps[0]]:.2f} s of {source}"
            )
        spans[source] = starts, ends, np.array([numbers.get(phone, 0) for *_, phone in found])
    return PhoneLabels(names, spans)


def _read_times(place: str, row: dict[str, str]) -> tuple[float, float]:
    try:
        start, end = (float(row[name].replace(",", ".")) for name in ("start", "end"))
    except ValueError as error:
        raise UserError(f"{place}: expected seconds, found '{row['start']}' and '{row['end']}'") from error
    if not 0 <= start < end:
        raise UserError(f"{place}: expected 0 <= start < end, found {start} and {end}; repair the line")
    return start, end


def is_silence(phone: str) -> bool:
    return phone.casefold() in SILENCES


def phones_at(labels: PhoneLabels, source: str, start: float, n_steps: int) -> np.ndarray | None:
    """(T,) int64 phones in the middle of ``n_steps`` steps of 10 ms from ``start`` (s) of a recording on.

    Time without a label is silence, since annotators leave pauses empty. None where no phone but silence lies there.
    """
    if source not in labels.spans:
        return None
    starts, ends, phones = labels.spans[source]
    times = start + (np.arange(n_steps) + 0.5) * STEP_MS / 1000
    places = np.searchsorted(starts, times, side="right") - 1
    inside = (places >= 0) & (times < ends[places])
    found = np.where(inside, phones[places], 0)
    return found if found.any() else None
