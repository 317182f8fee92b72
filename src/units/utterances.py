"""The utterances of phase 1 as the trainers hold them: units, F0 and speaker in memory, audio on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.pitch import cached_f0
from core.errors import UserError
from languages import resolve_in
from units.corpus import frame_units, read_corpus

PADDING_UNIT = -1


def load_utterances(corpus: Path, data_root: Path, cache: Path, splits: Sequence[str]) -> list[dict]:
    """The utterances of ``splits`` with units (F, N) int16 and F0 (F,) float32 in memory: some 6 bytes a frame.

    Audio stays on disk. Raises UserError where no utterance is left.
    """
    utterances = []
    for entry in read_corpus(corpus, splits=splits):
        units = frame_units(entry).astype(np.int16)
        if not len(units):
            continue
        audio = resolve_in(data_root, entry["audio"])
        f0 = cached_f0(cache, entry["id"], audio)
        if len(f0) != len(units):
            raise UserError(f"{audio}: expected {len(units)} frames as in {corpus}, found {len(f0)}; rerun phase 1")
        utterances.append(
            {"id": entry["id"], "audio": audio, "units": units, "f0": f0, "speaker": entry.get("speaker")}
        )
    if not utterances:
        raise UserError(f"{corpus}: expected utterances in split {' or '.join(splits)}, found none; add recordings")
    return utterances


def known_speakers(utterances: list[dict], table: Path) -> list[str]:
    """The speakers of ``utterances``, sorted; refuses a corpus that names none."""
    speakers = sorted({utterance["speaker"] for utterance in utterances if utterance["speaker"]})
    if not speakers:
        raise UserError(
            f"--speaker_embedding: expected speakers in the manifest, found none; write {table}, segment, and rerun "
            "phase 1"
        )
    return speakers
