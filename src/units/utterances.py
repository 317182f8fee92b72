"""The utterances of phase 1 as the trainers see them: units, F0 and speaker of each, read where it is asked for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.pitch import f0_store, fill_f0_cache, kept_f0
from audio.track_store import count_stored_frames, is_stored
from core.errors import UserError
from core.packed_files import is_file
from languages import open_resolver
from units.selection import EVERYTHING, Selection, select_rows
from units.unit_table import UnitTable, map_units, open_names, open_table, read_column, read_name

PADDING_UNIT = -1
DATES_ASKED = 4096  # audio files whose dates a start looks at
COUNTED_AT_ONCE = 65_536  # utterances


class LoadedUtterance(NamedTuple):
    """An utterance of phase 1's corpus as training reads it: units and F0 are mapped, and take memory when read."""

    id: str
    audio_path: Path
    frame_units: np.ndarray  # (F, N) int16, or int32 for units over 32,767
    f0: np.ndarray  # (F,) float32 Hz, 0 = unvoiced
    speaker: str | None


class UtteranceTable(Sequence[LoadedUtterance]):
    """Some utterances of a corpus, in its order: a sequence that reads what it is asked for, and holds 4 bytes of each.

    rows: (U,) int32 of the table. A class, since those who take utterances take any sequence of them.
    """

    def __init__(self, table: UnitTable, rows: np.ndarray, data_root: Path, cache: Path):
        self.table, self.rows, self.cache = table, rows, cache
        self._resolve, self._names, self._units = open_resolver(data_root), open_names(table), map_units(table)
        self._columns = [
            read_column(table, name) for name in ("first_frame", "n_frames", "place", "n_bytes", "speaker")
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> LoadedUtterance | list[LoadedUtterance]:
        if isinstance(index, slice):
            return [self._read(row) for row in self.rows[index]]
        return self._read(self.rows[index])

    def recording(self, index: int) -> tuple[str, Path]:
        """The id and the audio of one utterance."""
        _, _, place, n_bytes, _ = (column[self.rows[index]] for column in self._columns)
        name, audio = read_name(self._names, int(place), int(n_bytes))
        return name, Path(self._resolve(audio))

    def _read(self, row: int) -> LoadedUtterance:
        first, n_frames, place, n_bytes, speaker = (int(column[row]) for column in self._columns)
        name, audio = read_name(self._names, place, n_bytes)
        return LoadedUtterance(
            id=name,
            audio_path=Path(self._resolve(audio)),
            frame_units=self._units[first : first + n_frames],
            f0=kept_f0(self.cache, name),
            speaker=self.table.speakers[speaker] if speaker >= 0 else None,
        )


def load_utterances(
    corpus: Path, data_root: Path, cache: Path, splits: Sequence[str], selection: Selection = EVERYTHING
) -> UtteranceTable:
    """The selected utterances of ``splits`` but for empty ones; F0 that is missing is computed, in parallel.

    Raises UserError where no utterance is left, for units that are not as long as their audio, and for audio outside
    ``data_root``.
    """
    table = open_table(corpus, cache)
    rows = select_rows(table, splits, selection)
    rows = rows[read_column(table, "n_frames")[rows] > 0]
    if not len(rows):
        raise UserError(f"{corpus}: expected utterances in split {' or '.join(splits)}, found none; add recordings")
    utterances = UtteranceTable(table, rows, data_root, cache)
    _fill_f0(utterances)
    return utterances


def _fill_f0(utterances: UtteranceTable) -> None:
    """Compute F0 that the cache lacks, or has from older audio, and see that it is as long as the units."""
    store, keys = f0_store(utterances.cache), read_column(utterances.table, "key")[utterances.rows]
    lengths = count_frames(utterances)
    doubtful = np.flatnonzero(count_stored_frames(store, keys) != lengths)
    if _has_changed(utterances, store):
        doubtful = np.arange(len(utterances))
    if not len(doubtful):
        return
    fill_f0_cache(utterances.cache, (utterances.recording(int(index)) for index in doubtful))
    found = count_stored_frames(store, keys)
    for index in np.flatnonzero(found != lengths)[:1]:
        raise UserError(
            f"{utterances.recording(int(index))[1]}: expected {lengths[index]} frames as in {utterances.table.corpus}, "
            f"found {found[index]}; rerun phase 1"
        )


def _has_changed(utterances: UtteranceTable, store: Path) -> bool:
    """Whether audio is newer than its F0: all of a small corpus is asked, an even spread of a large one.

    Asking a network drive for a million dates takes minutes, and audio that is cut anew changes the units too.
    """
    asked = np.unique(np.linspace(0, len(utterances) - 1, min(len(utterances), DATES_ASKED)).astype(int))
    recordings = (utterances.recording(int(index)) for index in asked)
    return any(is_file(audio) and not is_stored(store, name, audio) for name, audio in recordings)


def count_frames(utterances: Sequence[LoadedUtterance]) -> np.ndarray:
    """(U,) frames of each utterance, without reading those of a table."""
    if isinstance(utterances, UtteranceTable):
        return read_column(utterances.table, "n_frames")[utterances.rows]
    return np.array([len(utterance.frame_units) for utterance in utterances], np.int32)


def named_speakers(utterances: Sequence[LoadedUtterance]) -> set[str]:
    """Who speaks in the utterances, without reading those of a table."""
    if isinstance(utterances, UtteranceTable):
        rows = np.unique(read_column(utterances.table, "speaker")[utterances.rows])
        return {utterances.table.speakers[row] for row in rows if row >= 0}
    return {utterance.speaker for utterance in utterances if utterance.speaker}


def speaker_numbers(utterances: UtteranceTable) -> np.ndarray:
    """(U,) a number for who speaks, -1 where nobody is named, without reading the utterances."""
    return read_column(utterances.table, "speaker")[utterances.rows]


def count_units(utterances: UtteranceTable) -> np.ndarray:
    """(U,) int32 deduplicated units of the first stream, without reading names or F0."""
    first, n_frames = (read_column(utterances.table, name) for name in ("first_frame", "n_frames"))
    units, found = map_units(utterances.table)[:, 0], np.empty(len(utterances), np.int32)
    for start in range(0, len(found), COUNTED_AT_ONCE):  # Python's numbers of millions would take half a gigabyte
        rows = utterances.rows[start : start + COUNTED_AT_ONCE]
        spans = zip(first[rows].tolist(), n_frames[rows].tolist())
        found[start : start + len(rows)] = [_count_runs(units[begin : begin + length]) for begin, length in spans]
    return found


def _count_runs(span: np.ndarray) -> int:
    return 1 + np.count_nonzero(span[1:] != span[:-1])


def known_speakers(speakers: Iterable[str | None], table: Path) -> list[str]:
    """The named ``speakers`` of a corpus, each once, sorted; refuses a corpus that names none."""
    known = sorted({speaker for speaker in speakers if speaker})
    if not known:
        raise UserError(
            f"--speaker_embedding: expected speakers in the manifest, found none; write {table}, segment, and rerun "
            "phase 1"
        )
    return known
