"""Motifs cut out of the segments, to listen to: what a token sounds like tells more than its numbers."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_crop, save_audio
from audio.audio_spans import audio_seconds
from core.errors import UserError
from core.files import write_text
from core.frames import SAMPLE_RATE
from core.packed_files import is_file
from core.records import Motif, MotifExample
from languages import data_root, resolve_in
from units.motifs import choose_motifs, read_motifs

log = logging.getLogger("oral_units")

GAP_SECONDS = 0.3  # silence between the examples of one wav
FADE_SECONDS = 0.005  # against clicks at the cuts
INDEX_HEADER = "wav\tunits\tcount\tmean_duration_seconds\texamples"


def cut_motif(examples: Sequence[MotifExample], context: float) -> tuple[np.ndarray, list[str]]:
    """(S,) a motif's examples, ``context`` seconds around each, with pauses between; and the audio files missing."""
    pieces, missing = [], []
    fade = np.linspace(0, 1, round(FADE_SECONDS * SAMPLE_RATE), dtype=np.float32)
    for example in examples:
        audio, first, last = example["audio"], example["start"], example["end"]
        path = resolve_in(data_root(), audio)
        if not is_file(path):
            missing.append(audio)
            continue
        start = round(max(0.0, first - context) * SAMPLE_RATE)
        end = round(min(audio_seconds(path), last + context) * SAMPLE_RATE)
        piece = load_crop(path, start, end - start)
        piece[: len(fade)] *= fade
        piece[-len(fade) :] *= fade[::-1]
        pieces += [piece, np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32)]
    return np.concatenate([*pieces, np.zeros(0, np.float32)]), missing


def cut_examples(exp: Path, n: int, context: float) -> None:
    """Write ``motifs/token_<id>.wav`` and ``motifs/index.tsv`` for the most frequent and the longest motifs."""
    chosen = choose_motifs(read_motifs(exp / "motifs.json"), n)
    folder, missing, rows = exp / "motifs", [], []
    for earlier in folder.glob("token_*.wav"):
        earlier.unlink()
    for motif in tqdm(chosen, desc="cutting motifs", unit=" motifs", disable=None):
        waveform, lost = cut_motif(motif["examples"], context)
        missing += lost
        if len(waveform):
            name = f"token_{motif['token']:05d}.wav"
            save_audio(folder / name, waveform)
            rows.append(f"{name}\t{_index_cells(motif)}")
    if missing:
        log.warning("%d examples skipped, their audio is not there: %s …", len(missing), ", ".join(missing[:3]))
    if chosen and not rows:
        raise UserError(f"{data_root()}: expected the segments of the corpus, found none; set DATA_ROOT")
    write_text(folder / "index.tsv", "\n".join([INDEX_HEADER, *rows]) + "\n")
    print(f"wrote {len(rows)} motifs to listen to in {folder} (index.tsv lists them)")


def _index_cells(motif: Motif) -> str:
    examples = ", ".join("{utterance} {start:.2f}-{end:.2f}".format(**example) for example in motif["examples"])
    units = " ".join(map(str, motif["units"]))
    return f"{units}\t{motif['count']}\t{motif['mean_duration']}\t{examples}"
