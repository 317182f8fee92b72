"""The utterances of phase 1 as the trainers hold them: units, F0 and speaker in memory, audio on disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.pitch import cached_f0
from core.errors import UserError
from languages import resolve_in
from units.corpus import frame_units
from units.selection import EVERYTHING, Selection, read_selected

PADDING_UNIT = -1


class LoadedUtterance(NamedTuple):
    """An utterance of phase 1's corpus as training reads it: some 6 to 8 bytes a frame in memory."""

    id: str
    audio_path: Path
    frame_units: np.ndarray  # (F, N) int16, or int32 for units over 32,767
    f0: np.ndarray  # (F,) float32 Hz, 0 = unvoiced
    speaker: str | None


def load_utterances(
    corpus: Path, data_root: Path, cache: Path, splits: Sequence[str], selection: Selection = EVERYTHING
) -> list[LoadedUtterance]:
    """The selected utterances of ``splits``, with their units and F0 but for empty ones.

    Raises UserError where no utterance is left, and for units that are not as long as their audio.
    """
    utterances = []
    for entry in read_selected(corpus, splits, selection):
        units, name = as_small_integers(frame_units(entry)), entry["id"]
        if not len(units):
            continue
        audio_path = resolve_in(data_root, entry["audio"])
        f0 = cached_f0(cache, name, audio_path)
        if len(f0) != len(units):
            raise UserError(
                f"{audio_path}: expected {len(units)} frames as in {corpus}, found {len(f0)}; rerun phase 1"
            )
        utterances.append(LoadedUtterance(name, audio_path, units, f0, entry.get("speaker")))
    if not utterances:
        raise UserError(f"{corpus}: expected utterances in split {' or '.join(splits)}, found none; add recordings")
    return utterances


def as_small_integers(units: np.ndarray) -> np.ndarray:
    """(F, N) unit ids as int16 where they fit, else as int32, so that padding stays the only negative one."""
    fits = units.max(initial=0) <= np.iinfo(np.int16).max
    return units.astype(np.int16 if fits else np.int32)


def known_speakers(speakers: Iterable[str | None], table: Path) -> list[str]:
    """The named ``speakers`` of a corpus, each once, sorted; refuses a corpus that names none."""
    known = sorted({speaker for speaker in speakers if speaker})
    if not known:
        raise UserError(
            f"--speaker_embedding: expected speakers in the manifest, found none; write {table}, segment, and rerun "
            "phase 1"
        )
    return known
